"""Signs: the questions are about facts that come once, words and pictures say the same, needles are nowhere else."""

import pytest
import torch

from seefar.synthetic.signs import CELL, COLOURS, Signs

SIGNS = Signs(names=20, fillers=6, facts=4)


def named(signs, words):
    """(name, colour) of every word, -1 for fillers."""
    number = words - signs.question - 1
    sign = number < signs.names * len(COLOURS)
    return torch.where(sign, number // len(COLOURS), -1), torch.where(sign, number % len(COLOURS), -1)


@pytest.mark.parametrize("words", [4, 40, 200])
def test_every_question_is_about_a_sign_that_comes_once_and_its_answer_is_its_colour(words):
    told = SIGNS.draw(8, words, 5, 0)
    names, colours = named(SIGNS, told.words)
    assert (told.questions[..., 0] == SIGNS.question).all()
    for row in range(8):
        for (_, name), answer in zip(told.questions[row].tolist(), told.answers[row].tolist(), strict=True):
            at = (names[row] == name).nonzero()
            assert len(at) == 1 and colours[row, at.item()] + SIGNS.names == answer


def test_the_share_of_signs_is_the_same_at_every_length():
    for words in (400, 4000):
        names, _ = named(SIGNS, SIGNS.draw(4, words, 1, 0).words)
        assert (names >= 0).float().mean() == pytest.approx(0.25, abs=0.05)


def test_a_seed_draws_the_same_film_and_another_draws_another():
    a, b, c = (SIGNS.draw(2, 40, 3, [7, k]) for k in (0, 0, 1))
    assert torch.equal(a.words, b.words) and torch.equal(a.asked, b.asked)
    assert not torch.equal(a.words, c.words)
    assert a.asked.shape == (2, 9) and a.frames == 10


def test_no_needle_is_in_the_haystack_and_each_is_once_in_its_frame():
    film, told = SIGNS.needles(5, 400, 3)
    hay, _ = named(SIGNS, film)
    names, colours = named(SIGNS, told.words)
    wanted = told.questions[:, 0, 1]
    assert len(set(wanted.tolist())) == 5 and not torch.isin(hay, wanted).any()
    assert torch.equal(names.amax(1), wanted) and ((names >= 0).sum(1) == 1).all()
    assert torch.equal(colours.amax(1) + SIGNS.names, told.answers[:, 0])


def test_pictures_show_the_words_in_raster_order_and_every_word_looks_different():
    plain = Signs(names=20, fillers=6, facts=4, noise=0.0)
    words = torch.arange(plain.question + 1, plain.vocabulary)[None, :164]
    frames = plain.pictures(words, 0)
    assert frames.shape == (1, 41, 3, 2 * CELL, 2 * CELL)
    cells = frames.unflatten(4, (2, CELL)).unflatten(3, (2, CELL)).permute(0, 1, 3, 5, 2, 4, 6).reshape(164, -1)
    again = plain.pictures(words.flip(1), 0)
    assert torch.equal(again[0, -1, :, CELL:, CELL:], frames[0, 0, :, :CELL, :CELL])
    assert (torch.cdist(cells, cells) + 100 * torch.eye(164)).min() > 0.1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Signs(names=4, facts=4), "more names than facts"),
        (lambda: SIGNS.draw(1, 0, 1, 0), "at least 1"),
        (lambda: SIGNS.needles(20, 40, 0), "1 to 19 needles"),
        (lambda: SIGNS.pictures(torch.full((1, 3), 40), 0), "a frame shows 4 words"),
        (lambda: SIGNS.pictures(torch.zeros(1, 4, dtype=torch.int64), 0), "words 29 to 194 can be shown"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
