"""The shipped dual encoder by itself: what it is, and that it tells frames apart."""

import pytest
import torch

from seefar.sequence import VisualSequence
from seefar.vlm.eyes import Asked, load_eyes


@pytest.fixture(scope="module")
def shipped():
    return load_eyes()


def test_the_score_of_a_token_is_its_best_word_whatever_batch_it_is_in(shipped):
    eyes, words = shipped
    seq = VisualSequence.of_grid(
        torch.randn(2, 3, 4, 7, 128, generator=torch.Generator().manual_seed(0)), torch.arange(3)
    )
    asked = Asked(eyes, words, "is there a red star?")
    heard, worth = eyes.hear(torch.tensor([words.encode("is there a red star?")]))
    got = asked(seq)
    assert got.shape == (2, 84)
    for row in range(2):
        want = eyes.relevance(seq.tokens[row], heard, worth)[0].amax(0)
        torch.testing.assert_close(got[row], want)


def test_nothing_of_it_learns(shipped):
    assert not any(weight.requires_grad for weight in shipped[0].parameters()) and not shipped[0].training


def test_a_question_without_a_word_is_refused(shipped):
    with pytest.raises(ValueError, match=r"at least one word, got ' \?'"):
        Asked(*shipped, " ?")


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="weights are missing"):
        load_eyes(tmp_path / "none.safetensors")
