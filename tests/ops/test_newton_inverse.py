"""Oracles: LAPACK's inverse and pseudo-inverse, and the iteration of another order that transformers has."""

import math
from itertools import pairwise

import pytest
import torch

from seefar.mixers.gaussian import gaussian
from seefar.ops.newton_inverse import BACKENDS, newton_inverse
from seefar.testing import check_op

EYE = torch.eye(12, dtype=torch.float64)


def spread(condition, count=3):
    """Symmetric positive definite matrices (count, 12, 12) with eigenvalues from 1 down to 1 / condition."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(count, 12, 12, dtype=torch.float64)).Q
    return turn * torch.logspace(0, -math.log10(condition), 12, dtype=torch.float64) @ turn.mT


@pytest.mark.parametrize("halvings", [0, 10])
def test_backends_agree_with_gradients(halvings):
    def inputs(m):
        torch.manual_seed(m)
        return {"matrix": torch.randn(2, 3, m, m, dtype=torch.float64)}

    check_op(newton_inverse, BACKENDS, inputs, lengths=(1, 2, 9), halvings=halvings)


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_inverse_of_any_matrix_not_just_of_symmetric_ones(backend):
    torch.manual_seed(0)
    matrix = torch.randn(4, 7, 7, dtype=torch.float64)
    got = newton_inverse(matrix, steps=40, backend=backend)
    torch.testing.assert_close(got, torch.linalg.inv(matrix), rtol=1e-8, atol=1e-8)
    assert newton_inverse(matrix[:0], backend=backend).shape == (0, 7, 7)
    torch.testing.assert_close(newton_inverse(matrix[0], steps=40, backend=backend), got[0])


@pytest.mark.parametrize(("condition", "steps"), [(10, 14), (100, 20), (1000, 27)])
def test_an_inverse_to_four_digits_takes_about_twice_the_binary_digits_of_the_condition(condition, steps):
    matrix = spread(condition)
    off = (newton_inverse(matrix, steps=steps) @ matrix - EYE).abs().max()
    assert off < 1e-4
    assert (newton_inverse(matrix, steps=steps - 8) @ matrix - EYE).abs().max() > 1e-2


def test_the_error_is_squared_by_each_step():
    matrix = spread(20)[0]
    errors = [float(torch.linalg.matrix_norm(EYE - newton_inverse(matrix, steps=n) @ matrix, 2)) for n in range(5, 16)]
    small = [(a, b) for a, b in pairwise(errors) if a < 0.1 and b > 1e-12]
    assert len(small) >= 2
    for before, after in small:
        assert 1.9 < math.log(after) / math.log(before) < 2.1


def test_the_same_inverse_as_by_transformers_iteration():
    from transformers import NystromformerConfig
    from transformers.models.nystromformer.modeling_nystromformer import NystromformerSelfAttention

    config = NystromformerConfig(hidden_size=24, num_attention_heads=1, segment_means_seq_len=24, num_landmarks=12)
    theirs = NystromformerSelfAttention(config)
    kernel = (3 * EYE + spread(5)).softmax(-1)
    want = theirs.iterative_inv(kernel[:, None], n_iter=12)[:, 0]
    torch.testing.assert_close(newton_inverse(kernel, steps=25), want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_is_that_of_the_pseudo_inverse(backend):
    matrix, weight = spread(50), torch.randn(3, 12, 12, dtype=torch.float64)
    found = []
    for inverse in (lambda m: newton_inverse(m, steps=30, backend=backend), torch.linalg.pinv):
        leaf = matrix.clone().requires_grad_()
        found += torch.autograd.grad((inverse(leaf) * weight).sum(), leaf)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_directions_without_an_inverse_do_no_harm():
    points = torch.linspace(0, 1, 12, dtype=torch.float64)[:, None]
    kernel = gaussian(points, points)
    values, vectors = torch.linalg.eigh(kernel)
    assert values[0] < 1e-12, "it has no inverse that could be told in float64"
    got = newton_inverse(kernel, steps=20)
    start = 1.8 / kernel.abs().sum(-1).max() ** 2
    want = (1 - (1 - start * values**2) ** (2**20)) / values.clamp(min=1e-300)
    want = torch.where(values < 1e-6, 2**20 * start * values, want)
    torch.testing.assert_close(got, vectors * want @ vectors.mT, rtol=1e-3, atol=1e-3)
    assert torch.linalg.eigvalsh(got).min() > -1e-8


def test_the_share_is_halved_for_each_matrix_alone_and_only_as_far_as_needed():
    torch.manual_seed(0)
    close, far = EYE, torch.randn(12, 12, dtype=torch.float64)
    start = newton_inverse(torch.stack([close, far]), steps=0, halvings=10)
    torch.testing.assert_close(start[0], 1.8 * EYE, msg="|I - 1.8 I|_1 = 0.8 is small enough")
    ratio = 1.8 * far.T / (far.abs().sum(0).max() * far.abs().sum(1).max()) / start[1]
    torch.testing.assert_close(ratio, ratio[0, 0].round().expand(12, 12))
    assert math.log2(ratio[0, 0]) == round(math.log2(ratio[0, 0])) > 0


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"too few digits.*call \.float\(\)"):
        newton_inverse(torch.eye(3, dtype=torch.float16))
    with pytest.raises(ValueError, match=r"square matrices.*got \(2, 3\)"):
        newton_inverse(torch.ones(2, 3))
    with pytest.raises(ValueError, match="share in"):
        newton_inverse(torch.eye(3), share=2.0)
    with pytest.raises(ValueError, match="unknown backend"):
        newton_inverse(torch.eye(3), backend="lapack")
