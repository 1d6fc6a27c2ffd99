"""Oracles: the full kernel matrix, pseudo-inverses by LAPACK, and the steps of the authors' code written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from seefar.mixers import GaussianAttention, Landmarks
from seefar.mixers.gaussian import gaussian

GRID = (4, 6)


def mixer(**given):
    torch.manual_seed(0)
    return GaussianAttention(12, 3, GRID, **({"ratio": 2} | given)).double()


def matrix_of(one, q):
    """(B, H, N, N): how much each token takes from every other."""
    N = q.shape[2]
    return one.attend(q, torch.eye(N, dtype=q.dtype).expand(*q.shape[:2], N, N))


def queries(scale=1.0):
    torch.manual_seed(1)
    return scale * torch.randn(2, 3, 24, 4, dtype=torch.float64)


def test_the_kernel_is_gaussian_of_the_distance():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float64)
    want = [[np.exp(-(((x - y) ** 2).sum()) / 2) for y in b] for x in a]
    np.testing.assert_allclose(gaussian(torch.from_numpy(a), torch.from_numpy(b)).numpy(), want, rtol=1e-12)
    far = torch.tensor([[3e3, 4e3], [3e3, 4e3]])
    assert gaussian(far, far).max() <= 1, "rounding must not make a distance negative"


def test_with_every_token_a_landmark_it_is_attention_by_the_full_kernel():
    one = mixer(symmetric=False, steps=40)
    one.landmarks = nn.Identity()
    q = queries(4.0)
    full = gaussian(q / 2**0.5, q / 2**0.5)
    want = full @ torch.linalg.inv(full + 0.01 * torch.eye(24, dtype=torch.float64)) @ full
    torch.testing.assert_close(matrix_of(one, q), want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(want, full, rtol=0, atol=0.02)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_layer_is_that_of_the_authors_code(symmetric):
    one = mixer(symmetric=symmetric, near=3)
    x = torch.randn(2, 24, 12, dtype=torch.float64)
    q, v = (part(x).view(2, 24, 3, 4).transpose(1, 2) for part in (one.q_proj, one.v_proj))
    q = q / 4**0.25
    marks = one.landmarks.gather(q.reshape(6, 4, 6, 4).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
    marks = F.gelu(F.layer_norm(marks.reshape(2, 3, 6, 4), (4,)))
    met, among = (torch.exp(-torch.cdist(a, marks).square() / 2) for a in (q, marks))
    inverse = torch.zeros_like(among)
    for b in range(2):
        for h in range(3):
            P, rows = among[b, h], among[b, h].sum(-1)
            if symmetric:
                V = 1.8 / rows.max() ** 2 * P
                while (torch.eye(6) - P @ V).abs().sum(-2).max() > 1.01:
                    V = V / 2
            else:
                P = P + 0.01 * torch.eye(6)
                V = 1.8 / (rows.max() + 0.01) ** 2 * P
            for _ in range(20):
                V = 2 * V - V @ P @ V
            inverse[b, h] = V / (rows[:, None] * rows).sqrt() if symmetric else V
    y = met @ inverse @ met.mT @ v
    for h in range(3):  # the filter of a head is the same for all its channels
        maps = v[:, h].reshape(2, 4, 6, 4).permute(0, 3, 1, 2).reshape(8, 1, 4, 6)
        near = F.conv2d(maps, one.near.weight[h : h + 1], padding=1)
        y[:, h] += near.reshape(2, 4, 24).mT
    want = one.o_proj(y.transpose(1, 2).reshape(2, 24, 12))
    torch.testing.assert_close(one(x)[0], want)


@pytest.mark.parametrize("symmetric", [False, True])
def test_what_tokens_take_is_symmetric_and_positive_semidefinite_even_where_landmarks_coincide(symmetric):
    one = mixer(symmetric=symmetric)
    q = queries()
    q[:, 0] = q[:, 0, :1]
    taken = matrix_of(one, q)
    torch.testing.assert_close(taken, taken.mT)
    assert torch.linalg.eigvalsh(taken).min() > -1e-9


def test_landmarks_far_apart_do_not_make_attention_vanish():
    one = mixer(near=0)
    one.landmarks = nn.Identity()
    taken = matrix_of(one, queries(100.0))
    torch.testing.assert_close(taken, torch.eye(24, dtype=torch.float64).expand_as(taken))


def test_no_step_of_the_inverse_is_kept_for_gradients_which_are_those_of_pinv():
    one = mixer(steps=40, near=0)
    one.landmarks = nn.Identity()
    q, v = (part.requires_grad_() for part in (queries(4.0), queries(1.0).flip(2)))
    weight = torch.randn(2, 3, 24, 4, dtype=torch.float64)
    got = torch.autograd.grad((one.attend(q, v) * weight).sum(), (q, v))
    kernel = gaussian(q / 2**0.5, q / 2**0.5)
    sizes = kernel.sum(-1).rsqrt()
    inverse = sizes[..., :, None] * torch.linalg.pinv(kernel) * sizes[..., None, :]
    want = torch.autograd.grad((kernel @ inverse @ kernel @ v * weight).sum(), (q, v))
    for one_got, one_want in zip(got, want, strict=True):
        torch.testing.assert_close(one_got, one_want, rtol=1e-4, atol=1e-4)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        one.attend(q, v)
    assert len(kept) < 40, "less than one for a step"


def test_the_norm_of_the_outcome_grows_with_alike_tokens_only_without_symmetric_norm():
    sizes = {}
    for symmetric in (False, True):
        for side in (8, 32):
            torch.manual_seed(0)
            one = GaussianAttention(8, 2, (side, side), ratio=4, symmetric=symmetric)
            wave = torch.linspace(0, 3, side).sin()
            q = torch.stack([wave[:, None].expand(side, side), wave.expand(side, side)] * 2, -1).flatten(0, 1)
            with torch.no_grad():
                taken = one.attend(q.expand(1, 2, -1, -1), torch.ones(1, 2, side**2, 1))
            sizes[symmetric, side] = float(taken.square().mean().sqrt())
    assert sizes[False, 32] > 8 * sizes[False, 8], "16 times the tokens"
    assert sizes[True, 32] < 2 * sizes[True, 8]


def test_four_times_the_tokens_with_as_many_landmarks_are_four_times_the_work():
    flops = []
    for side, ratio in ((32, 8), (64, 16)):
        one = GaussianAttention(16, 1, (side, side), ratio=ratio, near=0)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            one(torch.zeros(1, side**2, 16))
        flops.append(counter.get_total_flops())
    N, m, d = 64**2, 16, 16
    inverse = 20 * 4 * m**3 + 2 * m * m * d
    token = 3 * 2 * d * d + 2 * d * d + 3 * 2 * m * d  # projections, landmarks, the kernel there and back
    assert flops[1] == pytest.approx(N * token + inverse + 2 * m * m * d, rel=0.01)
    assert 3.4 < flops[1] / flops[0] < 4


def test_landmarks_see_their_square_alone_and_heads_share_them():
    torch.manual_seed(0)
    marks = Landmarks(4, GRID, 2).double()
    q = queries()
    other = q.clone()
    other[:, :, 8] += 1  # row 1, column 2: the second square
    changed = (marks(other) - marks(q)).abs().sum(-1) > 0
    assert changed.shape == (2, 3, 6) and changed[..., 1].all() and changed.sum() == 6
    torch.testing.assert_close(marks(q[:, :1]), marks(q)[:, :1])


def test_in_half_precision_the_inverse_is_float32():
    one = mixer().float()
    q, v = queries().float(), queries(0.5).float()
    torch.testing.assert_close(one.attend(q, v.bfloat16()), one.attend(q, v).bfloat16(), rtol=0.05, atol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        got = one(torch.randn(1, 24, 12))[0]
    assert got.dtype == torch.bfloat16 and got.isfinite().all()


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="squares of 4 x 4 tokens do not fill a grid of 4 x 6"):
        mixer(ratio=4)
    with pytest.raises(ValueError, match="24 tokens, got 25; set grid, and leave out a class token"):
        mixer()(torch.randn(1, 25, 12, dtype=torch.float64))
    with pytest.raises(ValueError, match="no state to go on from"):
        mixer()(torch.randn(1, 24, 12, dtype=torch.float64), ())
    with pytest.raises(ValueError, match="heads must divide dim=12, got 5"):
        GaussianAttention(12, 5, GRID)
    with pytest.raises(ValueError, match="odd side"):
        mixer(near=2)
