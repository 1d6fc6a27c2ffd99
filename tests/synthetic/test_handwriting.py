import numpy as np
import pytest
from sklearn.datasets import load_digits

from seefar.synthetic.handwriting import handwriting


def test_every_fifth_picture_is_held_out_and_none_is_in_both():
    held, labels = handwriting("held-out")
    others, _ = handwriting("train")
    np.testing.assert_array_equal(held, load_digits().images[::5])
    np.testing.assert_array_equal(labels, load_digits().target[::5])
    assert len(held) + len(others) == 1797
    np.testing.assert_array_equal(others[:4], load_digits().images[1:5])


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="'train' or 'held-out'"):
        handwriting("test")


def test_shared_pictures_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        handwriting()[0][0, 0, 0] = 3
