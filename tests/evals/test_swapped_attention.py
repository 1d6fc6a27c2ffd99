"""A model that attends exactly by another function scores the same, one that sees nothing scores like chance."""

from functools import cache, partial

import pytest
import torch

from seefar.evals import swapped_attention as swap
from seefar.hf import HiP
from seefar.ops.attention import attention
from seefar.papers._card import Scale
from seefar.synthetic.wide_needle import VOCABULARY, wide_needles

SMOKE = Scale("smoke", (0,))


@cache
def model(seed):
    batch = lambda step: wide_needles(16, 40, seed=step)  # noqa: E731
    return swap.trained_decoder(batch, seed, SMOKE, words=VOCABULARY, dim=16, layers=1, steps=30)


def texts(seed, width=8):
    return wide_needles(20, 40, width=width, seed=1000 + seed)


def near(q, k, v, *, causal, scale):
    return attention(q, k, v, causal=causal, scale=scale, window=4)


@pytest.mark.parametrize("arm", [swap.found_while_decoding, swap.perplexity])
def test_exact_attention_scores_as_the_model_itself_and_a_window_does_not(arm):
    scores = [arm(model, make, texts)(0)(8) for make in (None, lambda: attention, lambda: HiP(keep=64), lambda: near)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5) == pytest.approx(scores[2], rel=1e-5)
    assert arm is swap.found_while_decoding or scores[3] != pytest.approx(scores[0], rel=1e-5)
    assert model(0).config._attn_implementation == "sdpa"


def test_perplexity_is_that_of_the_models_own_loss():
    ids = texts(0)
    with torch.no_grad():
        want = model(0)(ids, labels=ids).loss.exp()
    assert swap.perplexity(model, None, texts)(0)("all") == pytest.approx(float(want), rel=1e-5)


def test_decoding_gives_what_attention_over_the_grown_cache_gives():
    outs = [
        swap.decoding(make, tokens=3, heads=2, width=8)(20)() for make in (lambda: attention, partial(HiP, keep=64))
    ]
    assert len(outs[0]) == 3
    torch.testing.assert_close(*outs)
