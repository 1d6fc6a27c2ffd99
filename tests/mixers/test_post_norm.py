import torch

from seefar.mixers import Attention, GatedRecurrence, PostNorm
from seefar.testing import check_streaming


def test_streams():
    torch.manual_seed(0)
    check_streaming(PostNorm(4, GatedRecurrence(4)), torch.randn(2, 20, 4))


def test_the_norm_is_of_the_sum_of_what_came_in_and_what_was_mixed():
    inner, x = GatedRecurrence(4), torch.randn(2, 5, 4)
    out = PostNorm(4, inner)(x)[0]
    total = x + inner(x)[0]
    spread = (total.var(-1, keepdim=True, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(out, (total - total.mean(-1, keepdim=True)) / spread)


def test_it_is_what_its_mixer_is():
    free = PostNorm(4, Attention(4, 2, causal=False))
    assert (free.causal, free.bounded) == (False, False)
    assert PostNorm(4, GatedRecurrence(4)).bounded
