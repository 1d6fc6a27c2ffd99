"""AIM: the published arithmetic, and the operations that torch counts when a real class runs through its plan."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seefar.evals.cost import QWEN2_7B, Decoder
from seefar.papers import aim
from seefar.papers._card import Scale
from seefar.sequence import VisualSequence
from seefar.testing import check_compressor, check_paper
from seefar.vlm.layer_plan import kept_counts
from seefar.vlm.untrained import untrained_onevision


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(aim, Scale("smoke", (0,)))


def test_the_arithmetic_of_the_7b_is_the_published_one():
    rho = aim.RHO
    assert QWEN2_7B.flops([6272] * 28) / 1e12 == pytest.approx(97.6, abs=0.05)
    assert QWEN2_7B.flops([6372] * 28) / 1e12 == pytest.approx(99.5, abs=0.05)
    assert QWEN2_7B.flops(kept_counts(1568, 0, rho)) / 1e12 == pytest.approx(14.1, abs=0.05)
    assert QWEN2_7B.flops(kept_counts(1568, 100, rho)) / 1e12 == pytest.approx(15.5, abs=0.05)


def test_a_frame_of_196_tokens_becomes_49_of_equal_standing():
    film = aim._film(6, 8)
    film = VisualSequence.of_grid(
        torch.cat([film.tokens, film.tokens.flip(1)]).reshape(2, 6, 14, 14, 8), torch.arange(6)
    )
    check_compressor(aim.build(), film, budgets=(294,), conserves_mass=True)
    out = aim.build()(film, 294)
    assert out.span[0, ::49, 0].tolist() == [0, 1, 2, 3, 4, 5] and out.count.tolist() == [294, 294]


def test_torch_counts_the_operations_of_the_schedule_only_where_sequences_get_shorter():
    model, film, frames = untrained_onevision(16), aim._film(1, 16), 1
    layers = model.base_model.language_model.layers
    shape, counts = Decoder.of(model.config), kept_counts(frames * 49, 2 * aim.WORDS, aim.RHO)
    found = {}
    for arm in ("merged", "aim", "masked"):
        with FlopCounterMode(display=False) as counter:
            aim._prefill(model, film, arm)
        parts = {f"LlavaOnevisionForConditionalGeneration.model.language_model.layers.{i}" for i in range(len(layers))}
        by_part = counter.get_flop_counts()
        found[arm] = sum(sum(by_part[name].values()) for name in parts)
    walks = sum(5 * 2 * 4 * n * n for n, after in pairwise(counts) if after < n)
    assert found["merged"] == shape.flops([counts[0]] * 28)
    assert found["aim"] == shape.flops(counts) + walks
    assert found["masked"] == found["merged"] + walks


def test_a_schedule_beyond_the_layers_and_a_budget_below_a_frame_are_refused():
    layers = untrained_onevision(16).base_model.language_model.layers
    with pytest.raises(ValueError, match="first <= last < layers, got 14, 28 and 28 layers"):
        aim.prune(layers, torch.arange(4), last=28)
    with pytest.raises(ValueError, match="the smallest possible budget is 3"):
        aim.build()(aim._film(3, 8), 2)
