"""Oracle: the weights of the equation in NumPy, and how two queries come to share them."""

import numpy as np
import pytest
import torch

from seefar.mixers import Inline, NormalizedLinear


def random(seed, N=12, d=4, H=1):
    return torch.randn(3, 1, H, N, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).unbind()


def weights(score, q, k):
    """(.., N, M) as the values of a unit matrix."""
    return score.linear(q, k, torch.eye(k.shape[2], dtype=k.dtype).expand(*k.shape[:3], -1))


@pytest.mark.parametrize("tokens", [None, 30])
def test_weights_are_scores_less_their_mean_and_sum_to_one(tokens):
    q, k, _ = random(0)
    got = weights(Inline(tokens=tokens), q, k)[0, 0].numpy()
    score = q[0, 0].numpy() @ k[0, 0].numpy().T / 2 / (tokens or 12)
    np.testing.assert_allclose(got, score - score.mean(1)[:, None] + 1 / 12, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got.sum(1), 1)
    assert (got < 0).any()


def test_scaled_queries_collide_where_weights_are_divided_and_nowhere_here():
    q, k, _ = random(1, N=200)
    for factor in (2.0, 0.1):
        shared = weights(NormalizedLinear(), factor * q, k) - weights(NormalizedLinear(), q, k)
        apart = weights(Inline(), factor * q, k) - weights(Inline(), q, k)
        assert (shared.norm(dim=-1) < 1e-12).all()
        assert (apart.norm(dim=-1) > 1e-6).all()


def test_queries_collide_along_what_the_centred_keys_do_not_span_and_along_nothing_else():
    q, k, _ = random(2)
    flat = k.clone()
    flat[..., 3] = 5.0  # equal in all keys: gone once centred
    along = torch.tensor([0, 0, 0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(weights(Inline(), q + 3 * along, flat), weights(Inline(), q, flat))
    for direction in torch.eye(4, dtype=torch.float64):
        moved = weights(Inline(), q + direction, k) - weights(Inline(), q, k)
        assert (moved.norm(dim=-1) > 1e-3).all(), "centred keys of full rank tell all queries apart"
    for direction in torch.eye(4, dtype=torch.float64)[:3]:
        moved = weights(Inline(), q + direction, flat) - weights(Inline(), q, flat)
        assert (moved.norm(dim=-1) > 1e-3).all()


def test_a_fixed_length_in_the_scale_stays_while_the_mean_goes_with_the_input():
    q, k, v = random(3)
    twice = [torch.cat([part, part], 2) for part in (q, k, v)]
    got = Inline(tokens=12).linear(*twice)
    want = 2 * Inline().linear(q, k, v) - v.mean(2, keepdim=True)  # twice the sum, but one mean of values
    torch.testing.assert_close(got[:, :, :12], want)


def test_padding_only_gives_zeros():
    q, k, v = random(4)
    for form in ("linear", "direct"):
        assert (getattr(Inline(), form)(q, k, v, torch.zeros(1, 12, dtype=torch.bool)) == 0).all()


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="tokens must be at least 1, got 0"):
        Inline(tokens=0)
