"""Oracle: torch's own convolution, layer by layer."""

import pytest
import torch
import torch.nn.functional as F

from seefar.mixers.dilated import DilatedConv
from seefar.testing import check_streaming


def make(dim=3, **options):
    torch.manual_seed(0)
    return DilatedConv(dim, **options).double()


def test_streams():
    check_streaming(make(kernel=3, factor=2, cover=12), torch.randn(2, 33, 3))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(make(kernel=3, factor=2, cover=12)), torch.randn(2, 33, 3))


def test_equals_a_chain_of_torch_convolutions():
    mixer, x = make(kernel=5, factor=3, cover=150), torch.randn(2, 70, 3).double()
    level = x.mT
    for taps, d in zip(mixer.taps, (1, 3, 9, 27), strict=True):
        level = F.conv1d(F.pad(level, (4 * d, 0)), taps.flip(0).T[:, None], dilation=d, groups=3)
    torch.testing.assert_close(mixer(x)[0], level.mT + mixer.omega * x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "factor", "cover", "reach"), [(17, 4, 1024, 1361), (2, 2, 64, 64), (3, 2, 2, 3), (5, 3, 53, 53)]
)
def test_reaches_exactly_as_far_as_it_says(kernel, factor, cover, reach):
    mixer = make(1, kernel=kernel, factor=factor, cover=cover)
    assert mixer.reach == reach >= cover
    with torch.no_grad():
        mixer.taps.fill_(1), mixer.omega.zero_()
    x = torch.zeros(1, reach + 20, 1).double()
    x[0, 7] = 1
    touched = mixer(x)[0].flatten().nonzero().flatten()
    assert (touched[0], touched[-1]) == (7, 7 + reach - 1)


def test_begins_near_a_residual_path():
    mixer, x = make(64, cover=256), torch.randn(1, 500, 64).double()
    kept = mixer(x)[0] - mixer.omega * x
    part = (kept * x).sum() / (x * x).sum()
    assert 0.7 < part < 1.3 and kept.norm() < 2.5 * x.norm()


def test_half_precision_inputs_are_filtered_in_float32():
    mixer, x = DilatedConv(4, cover=50), torch.randn(1, 60, 4).bfloat16()
    y, state = mixer(x)
    assert y.dtype == torch.bfloat16 and state.past_BPD.dtype == torch.float32
    torch.testing.assert_close(y, mixer(x.float())[0].bfloat16())


def test_says_what_is_wrong():
    for wrong in ({"factor": 1}, {"kernel": 1}, {"cover": 1}):
        with pytest.raises(ValueError, match="of at least 2, got"):
            DilatedConv(4, **wrong)
