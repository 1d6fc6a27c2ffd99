"""Evidence that is kept or lost: the oracle, its controls, and films that the shipped eyes have seen."""

import pytest
import torch

from seefar.compress import TopK, Uniform
from seefar.evals.evidence import Choice, Watched, answerable, holds_all, selection, visit_films
from seefar.papers._card import Scale
from seefar.sequence import VisualSequence
from seefar.synthetic.questions import Question

FRAMES = 40


def question(*spans):
    return Question("count", "visits", "how often?", str(len(spans)), spans, (), ())


def logits(*spans):
    """Two tokens a frame; the second of each frame inside of a span speaks for the question."""
    scores = torch.full((1, FRAMES, 2), -9.0)
    for start, end in spans:
        scores[0, start:end, 1] = 5.0
    return scores.flatten(1)


@pytest.fixture(scope="module")
def film():
    seq = VisualSequence.of_grid(torch.zeros(1, FRAMES, 1, 2, 3), torch.arange(FRAMES))
    spans = [((4, 8),), ((10, 13), (30, 33)), ((15, 17),)]
    return Watched(seq, tuple((question(*some), logits(*some)) for some in spans))


def best(relevance):
    return TopK(relevance, unit="frame")


def test_a_moment_is_held_by_a_frame_from_its_start_to_before_its_end(film):
    kept = film.seq.take(torch.arange(8, 10)[None])  # frame 4
    assert kept.span[0, :, 0].tolist() == [4, 4]
    assert holds_all(kept, [(4, 8)]) and holds_all(kept, [(3.5, 4.5)]) and holds_all(kept, [])
    assert not holds_all(kept, [(4, 8), (8, 9)]) and not holds_all(kept, [(3, 4)])


def test_a_question_counts_only_where_all_of_its_moments_are_kept(film):
    assert answerable(Choice(best), [film], 8, range(1, 2)) == (1.0, 8)
    assert answerable(Choice(best), [film], 6, [2]) == (0.0, 6), "the first three frames are all of one moment"
    assert answerable(Choice(best), [film], 8, [2]) == (1.0, 8)
    assert answerable(Choice(best), [film], 6) == (pytest.approx(2 / 3), 6)
    assert answerable(Choice(lambda _: Uniform()), [film], 2 * FRAMES) == (1.0, 2 * FRAMES)


def test_the_scores_of_another_question_find_something_else(film):
    assert answerable(Choice(best, astray=1), [film], 6)[0] == 0
    assert answerable(Choice(best, astray=3), [film], 8)[0] == 1


def test_noise_is_the_same_each_time_and_enough_of_it_hides_everything(film):
    noisy = [answerable(Choice(best, noise=level), [film] * 20, 4, [1])[0] for level in (0.0, 3.0, 1000.0)]
    assert noisy[0] == 1 and noisy[2] < 0.6
    assert answerable(Choice(best, noise=3.0), [film] * 20, 4, [1])[0] == noisy[1]


def test_every_choice_is_held_to_the_budget(film):
    class Greedy(Uniform):
        def forward(self, seq, budget, query=None):
            return seq

    arms = {"best": Choice(best), "greedy": Choice(lambda _: Greedy())}
    with pytest.raises(ValueError, match="greedy spent 80 tokens of a budget of 8"):
        selection(arms, lambda seed: [film], {"single": [1]}, [8], Scale("smoke", (0,)))
    curves = selection(
        {"best": arms["best"]}, lambda seed: [film], {"one": [1], "two": [2]}, [6, 8], Scale("smoke", (0,))
    )
    assert [curves[name]["best"][budget].mean for name in ("one", "two") for budget in (6, 8)] == [1, 1, 0, 1]


def test_questions_that_nobody_asked_are_no_score(film):
    with pytest.raises(ValueError, match="no question rests on"):
        answerable(Choice(best), [film], 8, [7])


def test_the_shipped_eyes_find_who_is_asked_for():
    (film,) = visit_films(5, 1, 70.0, (1, 2))
    assert film.seq.grid == (70, 4, 7) and film.seq.span[0, -1].tolist() == [69, 69]
    for asked, scores in film.asked:
        frames = scores.reshape(70, 28).amax(1)
        shown = torch.tensor([any(start <= t < end for start, end in asked.spans) for t in range(70)])
        right = (frames[shown][:, None] > frames[~shown]).double().mean()
        assert right > 0.9, asked.question
    assert sorted(len(asked.spans) for asked, _ in film.asked) == [1, 2]
