import pytest
import torch

from seefar.synthetic.digit_words import PIXELS, digit_words
from seefar.synthetic.handwriting import LEVELS


def test_pictures_follow_one_another_and_are_real_ones():
    from sklearn.datasets import load_digits

    ids = digit_words(3, 4, seed=0)
    assert ids.shape == (3, 4 * PIXELS) and ids.min() >= 0 and ids.max() == LEVELS - 1
    known = {tuple(row) for row in load_digits().data.astype(int).tolist()}
    assert all(tuple(picture) in known for picture in ids.reshape(-1, PIXELS).tolist())
    torch.testing.assert_close(digit_words(3, 4, seed=0), ids)


def test_no_picture_is_in_both_splits():
    train, held = (digit_words(400, 10, split=split, seed=1).reshape(-1, PIXELS) for split in ("train", "held-out"))
    assert not {tuple(p) for p in train.tolist()} & {tuple(p) for p in held.tolist()}


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="'train' or 'held-out', got 'test'"):
        digit_words(1, 1, split="test", seed=0)
    with pytest.raises(ValueError, match="pictures=0"):
        digit_words(1, 0, seed=0)
