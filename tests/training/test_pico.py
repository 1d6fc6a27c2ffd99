"""The making of pico: targets, batches, and the whole course at its smallest."""

import itertools
import json

import numpy as np
import pytest
import torch

from seefar.synthetic.questions import vocabulary
from seefar.synthetic.shapes import SHAPES, held_out
from seefar.training.lessons import (
    _within,
    lesson_batch,
    lesson_loss,
    lessons,
    misnamed,
    on_shapes,
    on_subject,
    recast,
)
from seefar.training.pico import Course, make, watch
from seefar.training.relevance import relevance_batch, relevance_loss
from seefar.training.worlds import COLOUR_LIST, reels
from seefar.vlm.pico import Pico
from seefar.vlm.pointing import gather_evidence
from seefar.vlm.text import Words
from seefar.vlm.tiny import Evidence, FrameText, Narrator

WORDS = Words(vocabulary())


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return reels(tmp_path_factory.mktemp("films"), range(2), (64, 112), minutes=2)


def test_what_may_be_pointed_at_is_inside_the_span_or_next_to_it():
    second = torch.tensor([1.0, 2.0, 5.0, 9.0])
    assert _within(second, 2.0, 5.0).tolist() == [False, True, False, False]
    assert _within(second, 6.0, 7.0).tolist() == [False, False, True, False]
    assert not _within(second, 20.0, 21.0).any()


def test_a_batch_is_made_from_its_step_alone_and_labels_are_the_truth(films):
    batch = relevance_batch(films, WORDS, (4, 7), frames=40, queries=16)
    first, again, other = batch(3), batch(3), batch(4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["frames"], other["frames"])
    assert 0 < first["labels"].mean() < 0.5


def test_the_relevance_loss_falls_on_one_batch(films):
    torch.manual_seed(0)
    model, data = FrameText(len(WORDS)), relevance_batch(films, WORDS, (4, 7), frames=40, queries=16)(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        value, _ = relevance_loss(model, data)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.7 * losses[0]


def test_what_an_alteration_makes_unsure_is_not_taught(films):
    plain, changed = (
        relevance_batch(films, WORDS, (4, 7), frames=80, queries=24, alter=share)(0) for share in (0, 0.45)
    )
    assert not plain["labels"].isnan().any() and plain["labels"].shape == changed["labels"].shape
    unknown = changed["labels"].isnan()
    assert 0.05 < unknown.float().mean() < 0.9
    same = (plain["frames"] == changed["frames"]).flatten(1).all(1)
    assert 0.05 < same.float().mean() < 0.95 and not unknown[:, same].any()
    assert torch.equal(plain["named"][:, same], changed["named"][:, same])
    model = FrameText(len(WORDS))
    value, figures = relevance_loss(model, changed)
    value.backward()
    assert torch.isfinite(value) and 0 <= figures["shape"] <= 1


def test_frames_are_misnamed_whole_and_as_often_as_asked():
    generator = torch.Generator().manual_seed(0)
    frame = torch.arange(400).repeat_interleave(3)
    names = torch.zeros(1, 1200, 31)
    names[..., [2, 11, 22, 29]] = 1  # a yellow triangle with the number 4, not squashed
    names[0, :300, 2], names[0, :300, 8] = 0, 1  # these hold nothing
    blank = torch.randn(1, 1200, 1, generator=generator)
    evidence = Evidence(names, *[blank] * 6, frame[None], torch.ones(1, 1200, dtype=torch.bool))
    slips = {"colour": 0.0, "shape": 0.0, "number": 0.5, "squashed": 0.0}
    got = misnamed(evidence, np.random.default_rng(0), slips).names_BKN[0]
    assert torch.equal(got[:300], names[0, :300]) and torch.equal(got[:, :18], names[0, :, :18])
    torch.testing.assert_close(got.sum(-1), names[0].sum(-1))
    other = (got[300:, 22] < 0.5).reshape(-1, 3)
    assert (other.all(1) | ~other.any(1)).all() and 0.35 < other.float().mean() < 0.55


def test_scenery_is_pointed_at_only_where_no_shape_is_shown():
    names = torch.zeros(1, 4, 31)
    names[0, :, 17] = torch.tensor([0.1, 0.9, 0.2, 1.0])
    rest = [torch.zeros(1, 4, 1)] * 6
    evidence = Evidence(names, *rest, torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.bool))
    ask = torch.tensor
    assert on_shapes(ask([True, True, False, False]), evidence).tolist() == [True, False, False, False]
    assert on_shapes(ask([False, True, False, True]), evidence).tolist() == [False, True, False, True]


def test_of_two_shapes_on_a_frame_only_the_one_asked_about_is_pointed_at():
    names = torch.zeros(4, 31)
    for token, (colour, shape) in enumerate([(0, 4), (2, 4), (0, 4), (8, 8)]):  # red, yellow, red cross, nothing
        names[token, [colour, 9 + shape]] = 1.0
    open_ = torch.tensor([True, True, False, True])
    assert on_subject(open_, [("red", "cross")], names).tolist() == [True, False, False, False]
    assert on_subject(open_, [(None, "cross")], names).tolist() == [True, True, False, False]
    assert on_subject(open_, [("yellow", None)], names).tolist() == [False, True, False, False]
    assert torch.equal(on_subject(open_, [("blue", "star")], names), open_)
    assert torch.equal(on_subject(open_, [("word", "harbor")], names), open_)


@torch.inference_mode()
def test_a_lesson_recast_is_as_true_as_before_and_about_no_held_out_combination(films):
    torch.manual_seed(0)
    eyes = FrameText(len(WORDS)).eval()
    seen = [watch(eyes, film) for film in films]
    made = lessons(eyes, films, seen, WORDS)
    colours, shapes = ([WORDS.index[name] for name in names] for names in (COLOUR_LIST, SHAPES))
    other = 0
    for n, lesson in enumerate(made[::7]):
        evidence = gather_evidence(
            eyes, seen[lesson.film].take(lesson.which[None]).map(torch.Tensor.float), lesson.heard, lesson.worth
        )
        after, changed = recast(lesson, evidence, eyes, WORDS, np.random.default_rng(n))
        other += after.words != lesson.words
        for words in (after.words, [step for step in after.steps if isinstance(step, int)]):
            for c, s in itertools.pairwise(words):
                assert c not in colours or s not in shapes or not held_out(WORDS.all[c], WORDS.all[s])
        swap = dict(zip(lesson.words, after.words, strict=True))
        names, renamed = evidence.names_BKN[0], changed.names_BKN[0]
        for before, now in swap.items():
            for first, group in ((0, colours), (9, shapes)):
                if before in group:
                    torch.testing.assert_close(
                        names[:, first + group.index(before)], renamed[:, first + group.index(now)]
                    )
        for first, last in ((0, 9), (9, 18), (18, 29)):
            torch.testing.assert_close(renamed[:, first:last].sort(-1).values, names[:, first:last].sort(-1).values)
            assert torch.equal(renamed[:, last - 1], names[:, last - 1])
        if lesson.topic == "visits":
            assert after.steps[-2:] == lesson.steps[-2:]
    assert other > 5


def test_a_lesson_rewards_pointing_inside_its_span_alone(films):
    torch.manual_seed(0)
    eyes, lm = FrameText(len(WORDS)).eval(), Narrator(len(WORDS))
    seen = [watch(eyes, film) for film in films]
    made = lessons(eyes, films, seen, WORDS)
    assert all(isinstance(step, int) or step.any() for lesson in made for step in lesson.steps)
    for lesson in made:
        for step in lesson.steps:
            if isinstance(step, torch.Tensor):
                assert len(step) == len(lesson.which)
    rows = lesson_batch(eyes, seen, made, 600, WORDS)(0)
    assert 8 <= len(rows) <= 64
    value, figures = lesson_loss(WORDS)(lm, rows)
    value.backward()
    assert torch.isfinite(value) and 0 <= figures["steps right"] <= 1
    assert all(p.grad is not None for name, p in lm.named_parameters())


@pytest.mark.slow
def test_the_whole_course_runs_stops_and_goes_on(tmp_path):
    course = Course(films=2, drills=1, eye_steps=2, lesson_steps=2, tokens_a_step=400)
    figures = make(tmp_path, tmp_path / "pico.safetensors", course)
    first = Pico.load(tmp_path / "pico.safetensors")
    make(tmp_path, tmp_path / "again.safetensors", course)
    again = Pico.load(tmp_path / "again.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(first.lm.parameters(), again.lm.parameters(), strict=True))
    assert json.loads(json.dumps(figures))["lessons"] > 10
