"""LongVA: its file keeps its shape, it is its parts, and the two that are compared differ in text alone."""

import pytest
import torch

from seefar.embed.patch import Patches
from seefar.papers import longva
from seefar.papers._card import Scale
from seefar.testing import check_paper
from seefar.training import transfer
from seefar.vlm.unires import small_qwen


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(longva, Scale("smoke", (0,)))


def test_it_slows_the_rope_of_the_language_model_and_keeps_its_weights():
    model = small_qwen(30, dim=16, layers=1, heads=2)
    before = [weight.clone() for weight in model.parameters()]
    reader = longva.build(model, Patches(6, 4), base=1e9, positions=5000)
    assert reader.model is model
    assert model.config.rope_parameters["rope_theta"] == 1e9 and model.config.max_position_embeddings == 5000
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_positions_without_a_base_are_refused():
    with pytest.raises(ValueError, match="positions go with a rotary base"):
        longva.build(small_qwen(30, dim=16, layers=1, heads=2), Patches(6, 4), positions=5000)


def test_no_film_in_training_is_longer_than_the_shortest_that_is_scored(monkeypatch):
    films, texts = [], []
    see, read = transfer.sight_loss, transfer.text_loss
    monkeypatch.setattr(transfer, "sight_loss", lambda m, d: films.append(d[1].shape[1]) or see(m, d))
    monkeypatch.setattr(transfer, "text_loss", lambda m, d: texts.append(d.words.shape[1]) or read(m, d))
    longva.claim(Scale("smoke", (0,)))
    assert len(films) == 4 and max(films) <= longva.SMOKE.frames
    assert len(texts) == 6 and max(texts[:2]) <= longva.SMOKE.short and max(texts) > longva.SMOKE.short
    assert sum(length > longva.SMOKE.short for length in texts) <= 2  # of one of the two language models


def test_short_text_has_as_many_words_and_questions_at_least():
    seen = {}
    for long in (True, False):
        words, batch, questions = longva.CPU.text(long)
        lengths = [transfer.text_length(7, step, words) for step in range(longva.CPU.steps[1])]
        seen[long] = (batch * sum(lengths), batch * questions)
    assert all(short >= long for short, long in zip(seen[False], seen[True], strict=True))
