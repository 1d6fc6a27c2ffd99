"""Measures with known answers."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from seefar.evals import quantized_attention as part
from seefar.evals.swapped_attention import trained_decoder
from seefar.papers._card import Scale

ONE = Scale("smoke", (0,))


def test_exact_attention_is_near_and_another_is_not():
    for what, exact, twice in (("cosine", 1, 1), ("relative L1", 0, 1)):
        point = ("normal", 20)
        near = part.nearness(scaled_dot_product_attention, what, width=8)(0)(point)
        far = part.nearness(lambda q, k, v: 2 * scaled_dot_product_attention(q, k, v), what, width=8)(0)(point)
        assert near == pytest.approx(exact, abs=1e-6) and far == pytest.approx(twice, abs=1e-6)
    assert part.nearness(lambda q, k, v: v, "cosine", width=8)(0)(("normal", 20)) < 0.9


def test_keys_lie_where_they_are_said_to():
    q, k, v = part.drawn("normal", 500, 0, heads=2, width=8)
    assert q.shape == k.shape == v.shape == (1, 2, 500, 8) and k.mean((0, 1, 2)).abs().max() < 0.2
    offset = part.drawn("shared offset", 500, 0, width=8)[1]
    assert offset.mean((0, 1, 2)).norm() > 30 and offset.std(2).max() < 1.2
    outlying = part.drawn("outlying channels", 500, 0, width=8)[1].mean((0, 1, 2))
    assert outlying[1] == pytest.approx(50, abs=1) and outlying[4] == pytest.approx(-20, abs=1)
    assert not torch.equal(part.drawn("normal", 5, 1)[0], part.drawn("normal", 5, 2)[0])


def test_a_calibrated_model_is_measured_with_what_was_chosen_for_it():
    def texts(seed, point):
        return torch.randint(9, (3, 12), generator=torch.Generator().manual_seed(seed))

    model = trained_decoder(lambda step: texts(step, None), 0, ONE, words=9, dim=16, steps=1)
    arm, chosen = part.calibrated(lambda seed: model, texts, bar=1.0, point=None)
    assert chosen(0).kinds == {0: "qk", 1: "qk"} and chosen(0).least == 1
    assert 0 <= arm(0)(None) <= 1
    assert part.calibrated(lambda seed: model, texts, bar=0.1, point=None)[1](0).kinds == {0: "all", 1: "all"}
