import pytest
import torch

from seefar.mixers import RasterPlace
from seefar.testing import check_streaming


def test_streams():
    check_streaming(RasterPlace(4, 5, 6), torch.randn(2, 29, 4))


def test_tokens_of_one_row_or_one_column_share_a_vector():
    place = RasterPlace(4, 3, 5)
    y = place(torch.zeros(1, 15, 4))[0].view(3, 5, 4)
    torch.testing.assert_close(y[1] - y[0], (place.rows[1] - place.rows[0]).expand(5, 4))
    torch.testing.assert_close(y[:, 3] - y[:, 0], (place.columns[3] - place.columns[0]).expand(3, 4))


def test_more_tokens_than_the_picture_has_are_refused():
    place = RasterPlace(4, 2, 3)
    with pytest.raises(ValueError, match="picture of 2 x 3 has no token 6"):
        place(torch.zeros(1, 3, 4), place(torch.zeros(1, 4, 4))[1])
    with pytest.raises(ValueError, match="height=0"):
        RasterPlace(4, 0, 3)
