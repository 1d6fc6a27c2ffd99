"""Frames come out of a row as they went in; marks and masks stand where the published layout has them."""

import numpy as np
import pytest
import torch

from seefar.embed.frame_codes import Row, frame_row, frames_of

OPENS, CLOSES = torch.tensor([529, 4924]), torch.tensor([1533, 4924, 29958])


@pytest.mark.parametrize("T", [1, 2, 5])
def test_a_row_is_text_codes_with_marks_text(T):
    codes = torch.randint(8192, (T, 4), generator=torch.Generator().manual_seed(0))
    row = frame_row(codes, OPENS, CLOSES)
    want = OPENS.tolist()
    for t, frame in enumerate(codes.tolist()):
        want += [*frame, 8193 if t == T - 1 else 8192]
    assert row.ids.tolist() == want + CLOSES.tolist()
    assert row.vision.tolist() == [False] * 2 + [True] * (5 * T) + [False] * 3
    assert torch.equal(frames_of(row), codes)


@pytest.mark.parametrize(("T", "most"), [(9, 4), (100, 7), (3, 3), (2, 5), (6, 1)])
def test_frames_are_thinned_evenly_as_published(T, most):
    codes = torch.arange(T)[:, None].expand(T, 2)
    kept = frames_of(frame_row(codes, OPENS, CLOSES, most=most))[:, 0].tolist()
    assert kept == (np.linspace(0, T - 1, most).astype(int).tolist() if most < T else list(range(T)))


def test_what_cannot_be_is_refused():
    for codes in (torch.tensor([[3, 8192]]), torch.tensor([[-1, 2]])):
        with pytest.raises(ValueError, match="codes go from 0 to 8191"):
            frame_row(codes, OPENS, CLOSES)
    with pytest.raises(ValueError, match=r"got \(0, 4\)"):
        frame_row(torch.zeros(0, 4, dtype=torch.int64), OPENS, CLOSES)
    row = frame_row(torch.zeros(3, 4, dtype=torch.int64), OPENS, CLOSES)
    for place, value in ((6, 1), (6, 8193), (16, 8192), (3, 8192)):
        ids = row.ids.clone()
        ids[place] = value
        with pytest.raises(ValueError, match="marks stand at"):
            frames_of(Row(ids, row.vision))
