"""GridPool: the rule that chooses its window, the contract, and refusals."""

import pytest
import torch
import torch.nn.functional as F

from seefar.compress import GridPool
from seefar.sequence import VisualSequence
from seefar.testing import check_compressor


def film(T=6, H=4, W=5, D=3, B=2):
    return VisualSequence.of_grid(
        torch.randn(B, T, H, W, D, generator=torch.Generator().manual_seed(0)), torch.arange(T)
    )


def test_the_contract_holds():
    check_compressor(GridPool(), film(), budgets=(1, 2, 7, 16, 50, 119, 120, 10_000), conserves_mass=True)
    check_compressor(GridPool((2, 2, 2)), film(), budgets=(18, 120), conserves_mass=True)


@pytest.mark.parametrize(
    ("budget", "grid"),
    [
        (120, (6, 4, 5)),  # fits
        (119, (6, 2, 3)),  # 2 x 2
        (36, (6, 2, 3)),
        (35, (6, 2, 2)),  # 3 x 3
        (24, (6, 2, 2)),
        (23, (6, 1, 2)),  # 4 x 4
        (11, (6, 1, 1)),  # one token a frame
        (6, (6, 1, 1)),
        (5, (3, 1, 1)),  # only now two frames become one
        (2, (2, 1, 1)),
        (1, (1, 1, 1)),
    ],
)
def test_space_is_pooled_before_time_and_no_more_than_needed(budget, grid):
    assert GridPool()(film(), budget).grid == grid


def test_a_window_that_divides_equals_average_pooling():
    seq = film(T=4, H=4, W=6)
    want = F.avg_pool3d(seq.tokens.reshape(2, 4, 4, 6, 3).movedim(-1, 1), (2, 2, 3)).movedim(1, -1)
    out = GridPool((2, 2, 3))(seq, 100)
    torch.testing.assert_close(out.tokens, want.reshape(2, -1, 3))
    assert out.grid == (2, 2, 2) and out.span[0, 0].tolist() == [0, 1] and out.box[0, 0].tolist() == [0, 0, 0.5, 0.5]


def test_a_fixed_window_is_used_at_every_budget_or_refused_with_one_that_fits():
    assert GridPool((1, 2, 2))(film(), 10_000).grid == (6, 2, 3)
    with pytest.raises(ValueError, match=r"leaves 36 tokens .*budget is 30; window=\(1, 3, 3\) would fit"):
        GridPool((1, 2, 2))(film(), 30)
    assert GridPool((1, 3, 3))(film(), 30).grid == (6, 2, 2)
    with pytest.raises(ValueError, match=r"window=\(6, 4, 5\) would fit"):
        GridPool((4, 1, 1))(film(), 1)
    assert GridPool((6, 4, 5))(film(), 1).mass.tolist() == [[120], [120]]


@pytest.mark.parametrize("window", [(0, 1, 1), (1, 1), (1, 1.5, 1)])
def test_bad_windows_are_refused(window):
    with pytest.raises(ValueError, match="three positive ints"):
        GridPool(window)


def test_tokens_that_are_no_raster_are_sent_elsewhere():
    with pytest.raises(ValueError, match=r"no raster any more; pool before selecting, or use SimilarityMerge\(\)"):
        GridPool()(film().take(torch.arange(5).expand(2, 5)), 3)
