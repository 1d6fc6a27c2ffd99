import pytest
import torch
from torch import nn

from seefar.backbones import Plain, class_apart, load_official
from seefar.embed import Patches
from seefar.mixers import GatedRecurrence

NAMES = {r"^stem\.": "embed.project.", r"^layer\.": "column."}


def _model(cls: str = "middle", grid: tuple[int, int] = (3, 5)) -> Plain:
    return Plain(Patches(6, 4), GatedRecurrence(6), grid=grid, cls=cls, classes=2)


def _released(model: Plain) -> dict[str, torch.Tensor]:
    """Weights under names and in shapes like those that are released: a convolution, one table of places."""
    sizes = {name: weight.shape for name, weight in model.state_dict().items() if "cls" not in name}
    renamed = {name.replace("embed.project", "stem").replace("column", "layer"): s for name, s in sizes.items()}
    weights = {name: torch.randn(shape) for name, shape in renamed.items() if name != "place.table"}
    weights["stem.weight"] = weights["stem.weight"].unflatten(1, (3, 4, 4))
    return weights | {"cls_token": torch.randn(1, 1, 6), "pos_embed": torch.randn(1, 16, 6)}


@pytest.mark.parametrize("cls, at", [("first", 0), ("middle", 7), ("last", 15)])
def test_every_weight_arrives_and_the_row_of_the_class_token_leaves_the_table(cls, at):
    model = _model(cls)
    weights = _released(model)
    load_official(model, class_apart(weights, model, token="cls_token", table="pos_embed"), NAMES)
    rows = weights["pos_embed"][0]
    assert torch.equal(model.cls_place, rows[at]) and torch.equal(model.cls_token, weights["cls_token"].flatten())
    assert torch.equal(model.place.table, rows[[row for row in range(16) if row != at]])
    assert torch.equal(model.column.proj_in.weight, weights["layer.proj_in.weight"])
    picture = torch.rand(2, 3, 12, 20)
    wanted = nn.functional.conv2d(picture, weights["stem.weight"], weights["stem.bias"], stride=4)
    tokens = model.embed(picture[:, None], torch.zeros(1)).tokens
    torch.testing.assert_close(tokens, wanted.flatten(2).mT, rtol=1e-5, atol=1e-5)


def _load(change) -> None:
    model = _model()
    weights = class_apart(_released(model), model, token="cls_token", table="pos_embed")
    change(weights)
    kept = {name: weight.clone() for name, weight in model.state_dict().items()}
    try:
        load_official(model, weights, NAMES)
    finally:
        assert all(torch.equal(weight, kept[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda w: w.pop("head.bias"), "lack head.bias and have none too many"),
        (lambda w: w.update({f"rope.{i}": torch.ones(1) for i in range(6)}), r"rope.3 and 2 more too many"),
        (lambda w: w.update({"head.bias": torch.ones(9)}), r"head.bias \(9,\) for \(2,\)"),
        (lambda w: w.update({"column.proj_in.bias": torch.ones(18)}), "two weights are called 'column.proj_in.bias'"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, message):
    with pytest.raises(ValueError, match=message):
        _load(change)


def test_places_of_another_raster_are_refused_with_both_sizes():
    model = _model()
    with pytest.raises(ValueError, match=r"places for 15 patches, the network has 4 \(2, 2\)"):
        class_apart(_released(model), _model(grid=(2, 2)), token="cls_token", table="pos_embed")
    with pytest.raises(ValueError, match="no cls_token, pos_embed"):
        class_apart({}, model, token="cls_token", table="pos_embed")
