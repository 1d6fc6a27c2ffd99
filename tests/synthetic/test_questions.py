"""Every answer, against what an observer sees who samples the truth ten times a second and knows no story."""

import re

import numpy as np
import pytest

from seefar.synthetic.questions import KINDS, ask_about, vocabulary
from seefar.synthetic.shapes import COLOURS, SHAPES, held_out
from seefar.synthetic.story import write_story
from seefar.synthetic.templates import TEMPLATES
from seefar.training.worlds import scene

STEP = 0.1
OFF = STEP + 0.01  # answers are told in hundredths


class Observer:
    """Sees the scenes alone; a look's stays are runs of samples that show it."""

    def __init__(self, story):
        self.seconds = np.arange(0, story.seconds, STEP)
        self.scenes = [scene(story, float(t)) for t in self.seconds]

    def runs(self, look, test=lambda thing: True):
        colour, shape = look
        shown = np.array(
            [any(t.colour == colour and t.shape == shape and test(t) for t in s.things) for s in self.scenes]
        )
        edges = np.flatnonzero(np.diff(np.concatenate([[0], shown.astype(int), [0]])))
        return [(self.seconds[a], self.seconds[b - 1] + STEP) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def first(self, look):
        return self.runs(look)[0][0]

    def card(self, kind, name):
        return next(float(t) for t, s in zip(self.seconds, self.scenes, strict=True) if (kind, name) in s.cards)

    def things(self):
        return [t for s in self.scenes for t in s.things]


@pytest.fixture(scope="module", params=[("train", 1), ("held-out", 2), ("held-out", 3)], ids=str)
def film(request):
    story = write_story(request.param[1], 900, split=request.param[0])
    return story, Observer(story), ask_about(story, split=request.param[0], per_topic=9)


def named(text):
    return re.findall(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", text)


def test_all_kinds_and_topics_are_asked():
    asked = [q for seed in range(8) for q in ask_about(write_story(seed, 3600))]
    assert {q.kind for q in asked} == set(KINDS)
    assert {q.topic for q in asked} == set(TEMPLATES)


def test_the_observer_agrees_with_every_answer(film):
    _story, observer, questions = film
    for q in questions:
        names = named(q.question)
        if q.topic == "exists":
            assert (q.answer == "yes") == bool(observer.runs(names[0])), q
        elif q.topic == "colour":
            shape = next(s for s in SHAPES if s in q.question.split() or f"{s}?" in q.question.split())
            assert {t.colour for t in observer.things() if t.shape == shape} == {q.answer}, q
        elif q.topic == "shape":
            colour = next(c for c in COLOURS if c in q.question.split())
            assert {t.shape for t in observer.things() if t.colour == colour} == {q.answer}, q
        elif q.topic == "number":
            seen = {t.number for t in observer.things() if (t.colour, t.shape) == names[0]}
            assert seen == {int(q.answer)}, q
        elif q.topic == "appear":
            assert abs(observer.first(names[0]) - float(q.answer)) <= OFF, q
        elif q.topic == "vanish":
            assert len(observer.runs(names[0])) == 1 and abs(observer.runs(names[0])[0][1] - float(q.answer)) <= OFF, q
        elif q.topic == "bounce":
            (hit,) = observer.runs(names[0], lambda t: t.squashed)
            assert hit[0] - OFF <= float(q.answer) <= hit[1] + OFF, q
        elif q.topic == "recolour":
            assert abs(observer.runs(names[0])[0][1] - float(q.answer)) <= OFF, q
        elif q.topic == "turned":
            end, shape = observer.runs(names[0])[0][1], names[0][1]
            after = next(s for t, s in zip(observer.seconds, observer.scenes, strict=True) if t >= end)
            assert q.answer in {t.colour for t in after.things if t.shape == shape}, q
        elif q.topic in ("word", "photograph"):
            name = q.shows[0][1]
            assert name in q.question and abs(observer.card(q.topic, name) - float(q.answer)) <= OFF, q
        elif q.topic == "duration":
            ((start, end),) = observer.runs(names[0])
            assert abs(end - start - float(q.answer)) <= 2 * STEP, q
        elif q.topic == "visits":
            assert len(observer.runs(names[0])) == int(q.answer), q
        elif q.topic == "bounces":
            assert len(observer.runs(names[0], lambda t: t.squashed)) == int(q.answer), q
        elif q.topic == "order":
            assert min(names, key=observer.first) == tuple(q.answer.split()), q
        elif q.topic == "before/after":
            asked = named(q.question.replace("before or after the", ""))
            first, second = asked if not q.question.startswith("before or after") else asked[::-1]
            assert q.answer == ("before" if observer.first(first) < observer.first(second) else "after"), q
        else:
            raise AssertionError(q.topic)


def test_spans_hold_evidence(film):
    for q in film[2]:
        assert bool(q.spans) == (q.answer != "no")
        assert all(a < b for a, b in q.spans)


def test_training_never_asks_about_held_out_combinations(film):
    story, _, questions = film
    if story.split == "train":
        assert not any(held_out(*look) for q in questions for look in named(q.question))


def test_templates_are_split_and_their_words_known():
    known = set(vocabulary())
    for train, rest in TEMPLATES.values():
        assert not set(train) & set(rest) and len(train) >= 4 and len(rest) >= 2
    words = {w for train, _ in TEMPLATES.values() for t in train for w in t.split()}
    for topic, (_, rest) in TEMPLATES.items():
        for template in rest:
            new = [w for w in template.split() if w not in words]
            assert not new, f"{topic}: {template!r} uses {new}, which no training template has"
    assert {w for t in words for w in [t] if not w.startswith("{")} <= known
