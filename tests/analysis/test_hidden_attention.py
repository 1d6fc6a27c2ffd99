import pytest
import torch

from seefar.analysis.hidden_attention import hidden_attention, mean_distance
from seefar.mixers.selective import Mamba, drive, scan


def _mixer():
    torch.manual_seed(0)
    return Mamba(4, d_state=3).double(), torch.randn(2, 21, 4, dtype=torch.float64)


def test_weights_times_inputs_are_what_the_scan_gives_before_its_gate():
    mixer, x = _mixer()
    driven, _ = drive(mixer.selection, mixer.in_proj(x).chunk(2, -1)[0])
    open_gate = torch.full_like(driven.u_BNE, 50.0)  # silu(50) = 50
    want = scan(mixer.selection, driven, open_gate)[0] / 50
    got = (hidden_attention(mixer, x) @ driven.u_BNE.mT[..., None])[..., 0].mT + mixer.D * driven.u_BNE
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_the_last_rows_are_those_of_the_whole():
    mixer, x = _mixer()
    whole = hidden_attention(mixer, x)
    assert (whole.triu(1) == 0).all()
    torch.testing.assert_close(hidden_attention(mixer, x, rows=2), whole[:, :, -2:], rtol=1e-12, atol=1e-12)


def test_distance_is_a_mean_by_absolute_weight():
    weights = torch.tensor([[1.0, 0.0, -1.0, 0.0], [0.0, 3.0, 0.0, 1.0]])
    assert mean_distance(weights).tolist() == [1.0, 1.5]


def test_no_rows_are_refused():
    mixer, x = _mixer()
    with pytest.raises(ValueError, match=r"rows lie in \[1, 21\], got 22"):
        hidden_attention(mixer, x, rows=22)
