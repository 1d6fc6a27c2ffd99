"""Oracles: the mixer's own outputs, and for each kind of mixer its matrix by its definition."""

from functools import partial

import pytest
import torch

from seefar.analysis.mixing_matrix import PATHS, Path, mixing_matrix
from seefar.analysis.rollout import attention_maps
from seefar.mixers import (
    EMA,
    RNN,
    S4,
    S4D,
    Attention,
    DilatedConv,
    Fourier,
    GatedRecurrence,
    Hyena,
    Multires,
    MultiresConv,
    NormalizedLinear,
    SparseAttention,
    TokenMatrix,
    TwoFormAttention,
)
from seefar.ops.block_attention import BlockMask
from seefar.positions.rope import Rope

N, D = 9, 4
STRIDED = partial(BlockMask.strided, stride=3, block=3)
MAKERS = {
    "attention": lambda: Attention(D, 2, rope=Rope(2)),
    "all see all": lambda: Attention(D, 2, causal=False),
    "window": lambda: Attention(D, 2, window=3),
    "features": lambda: TwoFormAttention(D, 2, NormalizedLinear(), form="linear"),
    "sparse": lambda: SparseAttention(D, 2, STRIDED),
    "gated": lambda: GatedRecurrence(D),
    "hyena": lambda: Hyena(D, length=N),
    "s4": lambda: S4(D, states=4),
    "s4d": lambda: S4D(D, states=4),
    "multires": lambda: Multires(D, cover=8),
    "multires conv": lambda: MultiresConv(D, cover=8),
    "dilated": lambda: DilatedConv(D, kernel=2, factor=2, cover=8),
    "ema": lambda: EMA(D, states=2),
    "both ways": lambda: EMA(D, states=2, bidirectional=True),
    "learnt": lambda: TokenMatrix(N),
    "fourier": Fourier,
}


def made(name):
    torch.manual_seed(0)
    return MAKERS[name]().double(), torch.randn(2, N, D).double()


def test_every_known_type_is_tried():
    assert {type(MAKERS[name]()) for name in MAKERS} >= set(PATHS)


@pytest.mark.parametrize("name", MAKERS)
def test_the_matrix_times_the_values_is_what_the_mixer_gives(name):
    mixer, x = made(name)
    found = mixing_matrix(mixer, x)
    assert found.kind == "linear" and found.error < 1e-10
    assert found.results.abs().max() > 1e-3  # not nothing
    if mixer.causal:
        assert (found.weights.triu(1) == 0).all() or found.weights.triu(1).abs().max() < 1e-12


def test_mamba_is_its_hidden_attention_times_its_gate():
    from seefar.mixers import Mamba

    torch.manual_seed(0)
    found = mixing_matrix(Mamba(D, d_state=2).double(), torch.randn(2, N, D).double())
    assert found.error < 1e-10 and found.results.abs().max() > 1e-3 and (found.weights.triu(1) == 0).all()


@pytest.mark.parametrize("name", ["attention", "all see all", "window"])
def test_attention_has_its_softmax(name):
    mixer, x = made(name)
    (maps,) = attention_maps(mixer, lambda: mixer(x))
    torch.testing.assert_close(mixing_matrix(mixer, x).weights, maps.repeat_interleave(2, 1), rtol=1e-10, atol=1e-12)


def test_features_give_their_products_over_their_sum():
    mixer, x = made("features")
    q, k = (torch.relu(p(x).unflatten(-1, (2, 2)).transpose(1, 2)) for p in (mixer.q_proj, mixer.k_proj))
    products = q @ k.mT
    want = products / products.sum(-1, keepdim=True).clamp_min(1e-300)
    torch.testing.assert_close(mixing_matrix(mixer, x).weights[:, ::2], want, rtol=1e-10, atol=1e-12)


def test_a_pattern_shows_as_zeros():
    mixer, x = made("sparse")
    weights = mixing_matrix(mixer, x).weights
    assert torch.equal(weights != 0, STRIDED(N, N).dense().expand_as(weights))


def test_averages_are_their_kernel_by_distance():
    mixer, x = made("ema")
    taps = mixer.kernel(N) + torch.nn.functional.pad(mixer.omega[:, None], (0, N - 1))
    back = torch.arange(N)[:, None] - torch.arange(N)
    want = torch.where(back >= 0, taps[:, back.clamp_min(0)], 0.0)
    torch.testing.assert_close(mixing_matrix(mixer, x).weights[1], want, rtol=1e-10, atol=1e-12)


def test_a_gated_recurrence_is_the_product_of_what_it_kept():
    mixer, x = made("gated")
    _, f, o = mixer.proj_in(x).chunk(3, -1)
    f, o = f.sigmoid(), o.sigmoid()
    want = torch.zeros(2, D, N, N).double()
    for i in range(N):
        for j in range(i + 1):
            want[:, :, i, j] = o[:, i] * f[:, j + 1 : i + 1].prod(1) * (1 - f[:, j])
    torch.testing.assert_close(mixing_matrix(mixer, x).weights, want, rtol=1e-10, atol=1e-12)


def test_a_nonlinear_state_gives_a_jacobian_that_claims_nothing_more():
    torch.manual_seed(0)
    mixer, x = RNN(D).double(), torch.randn(2, N, D).double()
    found = mixing_matrix(mixer, x)
    assert found.kind == "jacobian" and found.weights.shape == (2, 1, N, N) and (found.weights.triu(1) == 0).all()
    moved = x.clone()
    moved[0, 3, 1] += 1e-6
    slope = (mixer(moved)[0] - mixer(x)[0])[0].norm(dim=-1) / 1e-6
    assert (slope <= found.weights[0, 0, :, 3] * (1 + 1e-5)).all() and slope[3] > 0
    with pytest.raises(ValueError, match="a Jacobian has no values"):
        _ = found.error


def test_pretending_that_it_is_linear_shows_as_an_error():
    torch.manual_seed(0)
    mixer, x = RNN(D).double(), torch.randn(2, N, D).double()
    assert mixing_matrix(mixer, x, Path()).error > 1e-3


def test_shared_values_are_refused():
    with pytest.raises(ValueError, match="4 channels of 2 channels of values; give it as many heads"):
        mixing_matrix(Attention(D, 2, kv_heads=1), torch.randn(1, 3, D))
