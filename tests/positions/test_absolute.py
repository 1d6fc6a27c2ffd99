import pytest
import torch
import torch.nn.functional as F

from seefar.positions import FactorisedGrid, LearnedGrid


def _boxes(rows: int, columns: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([y / rows, x / columns, (y + 1) / rows, (x + 1) / columns], -1)


def test_the_raster_it_was_learnt_on_gets_the_table_itself():
    place = LearnedGrid(5, (3, 4))
    assert place((3, 4)) is place.table and place.table.shape == (12, 5)


@pytest.mark.parametrize("grid", [(5, 7), (2, 9), (14, 14)])
def test_other_rasters_are_resized_as_in_the_vit_of_transformers(grid):
    from transformers import ViTConfig
    from transformers.models.vit.modeling_vit import ViTEmbeddings

    config = ViTConfig(hidden_size=8, image_size=64, patch_size=16)
    theirs = ViTEmbeddings(config).double()
    ours = LearnedGrid(8, (4, 4)).double()
    with torch.no_grad():
        theirs.position_embeddings.normal_()
        ours.table.copy_(theirs.position_embeddings[0, 1:])
    dummy = torch.zeros(1, grid[0] * grid[1] + 1, 8)
    wanted = theirs.interpolate_pos_encoding(dummy, grid[0] * 16, grid[1] * 16)[0, 1:]
    torch.testing.assert_close(ours(grid), wanted)


def test_cells_keep_their_share_of_the_picture():
    place = LearnedGrid(2, (4, 4)).double()
    with torch.no_grad():
        at = (torch.arange(4, dtype=torch.float64) + 0.5) / 4
        place.table.copy_(torch.cartesian_prod(at, at))
    rows, columns = place((10, 6)).reshape(10, 6, 2)[2:-2, 1:-1].unbind(-1)
    inner_rows, inner_columns = (torch.arange(2, 8) + 0.5) / 10, (torch.arange(1, 5) + 0.5) / 6
    torch.testing.assert_close(rows, inner_rows.double()[:, None].expand(6, 4), rtol=0, atol=0.03)
    torch.testing.assert_close(columns, inner_columns.double().expand(6, 4), rtol=0, atol=0.03)


def test_the_table_learns_from_a_picture_of_another_size():
    place = LearnedGrid(3, (3, 3))
    place((7, 5)).square().sum().backward()
    assert place.table.grad is not None and (place.table.grad != 0).all()


@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 7), (64, 64), (61, 2)])
def test_absolute_places_are_those_of_the_row_and_of_the_column(rows, columns):
    place = FactorisedGrid(5, 64, "absolute").double()
    want = place.rows[:rows, None] + place.columns[:columns]
    assert torch.equal(place(_boxes(rows, columns)), want)
    some = torch.randperm(rows * columns)[:9]
    assert torch.equal(place(_boxes(rows, columns).flatten(0, 1)[some]), want.flatten(0, 1)[some])


@pytest.mark.parametrize("rows, columns", [(1, 1), (6, 6), (3, 8), (17, 2), (40, 5)])
def test_fractional_places_are_the_tables_resized_to_the_picture(rows, columns):
    place = FactorisedGrid(5, 6, "fractional").double()
    down, across = (
        F.interpolate(table.T[None], size=n, mode="linear", align_corners=False)[0].T
        for table, n in ((place.rows, rows), (place.columns, columns))
    )
    torch.testing.assert_close(place(_boxes(rows, columns)), down[:, None] + across, rtol=0, atol=1e-7)


def test_only_absolute_places_tell_a_wide_picture_from_a_tall_one():
    absolute, fractional = (FactorisedGrid(5, 8, kind) for kind in ("absolute", "fractional"))
    wide, tall = _boxes(2, 8), _boxes(8, 2)
    corner = [place(grid)[-1, -1] for place in (absolute, fractional) for grid in (wide, tall)]
    assert not torch.allclose(corner[0], corner[1])
    middle = [fractional(grid[:, :, None].mean((0, 1))) for grid in (wide, tall)]
    torch.testing.assert_close(middle[0], middle[1])


def test_padding_has_a_finite_place():
    for kind in ("absolute", "fractional"):
        place = FactorisedGrid(5, 8, kind)
        torch.testing.assert_close(place(torch.zeros(2, 3, 4)), (place.rows[0] + place.columns[0]).expand(2, 3, 5))


@pytest.mark.parametrize("kind", ["absolute", "fractional"])
def test_both_tables_learn_from_the_places_that_were_read(kind):
    place = FactorisedGrid(3, 4, kind)
    place(_boxes(2, 4)).sum().backward()
    assert (place.columns.grad != 0).all() and (place.rows.grad[0] != 0).all()
    assert (place.rows.grad[3] == 0).all() == (kind == "absolute")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FactorisedGrid(0, 2), "got 0 and 2"),
        (lambda: FactorisedGrid(3, 2, "sincos"), "'absolute' or 'fractional', got 'sincos'"),
        (lambda: FactorisedGrid(3, 2)(torch.rand(3, 2)), r"y0 x0 y1 x1, got \(3, 2\)"),
        (lambda: FactorisedGrid(3, 8, "absolute")(_boxes(3, 9)), "column 8 has no place in tables of 8.*sides=9"),
        (lambda: LearnedGrid(0, (2, 2)), "got 0"),
        (lambda: LearnedGrid(3, (0, 2)), r"\(0, 2\)"),
        (lambda: LearnedGrid(3, (2, 2))((3, 0)), r"positive rows and columns, got \(3, 0\)"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
