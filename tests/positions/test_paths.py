import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seefar.positions import Path, cross, raster, reverse, spatial_first, spatiotemporal, temporal_first

sizes = st.integers(1, 5)
paths = st.builds(Path, st.permutations("thw").map("".join), st.booleans())


@given(paths, st.tuples(sizes, sizes, sizes))
def test_every_path_meets_every_token_once_and_its_inverse_puts_them_back(path, grid):
    N = grid[0] * grid[1] * grid[2]
    order, back = path(grid), path.inverse(grid)
    assert order.dtype == back.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(N))
    tokens = torch.randn(N)
    assert torch.equal(tokens[order][back], tokens)
    assert [order.tolist().index(i) for i in range(N)] == back.tolist()


@given(paths, st.tuples(sizes, sizes, sizes))
def test_axes_are_the_loops_from_the_outermost_to_the_innermost(path, grid):
    length = dict(zip("thw", grid, strict=True))
    outer, middle, inner = path.axes
    walk = []
    for i in range(length[outer]):
        for j in range(length[middle]):
            for k in range(length[inner]):
                at = {outer: i, middle: j, inner: k}
                walk.append((at["t"] * grid[1] + at["h"]) * grid[2] + at["w"])
    assert path(grid).tolist() == (walk[::-1] if path.backward else walk)


def test_the_cross_of_a_picture_is_vmambas_four_directions():
    #  0 1 2
    #  3 4 5
    assert [path((1, 2, 3)).tolist() for path in cross] == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


def test_a_film_is_walked_frame_by_frame_or_place_by_place():
    # frames [[0 1] [2 3]] and [[4 5] [6 7]]
    assert [path((2, 2, 2)).tolist() for path in spatial_first] == [[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, 0]]
    assert [path((2, 2, 2)).tolist() for path in temporal_first] == [[0, 4, 1, 5, 2, 6, 3, 7], [7, 3, 6, 2, 5, 1, 4, 0]]
    assert spatiotemporal == (*spatial_first, *temporal_first)


def test_the_cross_of_a_film_finishes_each_frame_before_the_next():
    for path in cross:
        frames = path((3, 2, 4)) // 8
        assert frames.unique_consecutive().tolist() == ([2, 1, 0] if path.backward else [0, 1, 2])


def test_raster_is_the_identity_and_reverse_its_flip():
    assert torch.equal(raster((2, 3, 4)), torch.arange(24))
    assert torch.equal(reverse((2, 3, 4)), torch.arange(23, -1, -1))


def test_equal_paths_are_equal():
    assert Path("thw") == raster and Path("thw", backward=True) == reverse != raster


@pytest.mark.parametrize("axes", ["hw", "thwt", "xyz", "tth", ""])
def test_axes_that_are_no_order_of_the_three_are_refused(axes):
    with pytest.raises(ValueError, match=f"got '{axes}'"):
        Path(axes)


@pytest.mark.parametrize("grid", [(2, 3), (0, 2, 2), (1, -1, 2)])
def test_grids_without_three_positive_sizes_are_refused(grid):
    with pytest.raises(ValueError, match=r"grid.*got \("):
        raster(grid)
