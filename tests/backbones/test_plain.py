from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seefar.backbones import Plain
from seefar.embed import Patches
from seefar.mixers import Attention, BidirectionalMamba, Block, Scan, Stack
from seefar.mixers.base import Mixer
from seefar.positions import cross


class _Watch(Mixer):
    """Mixes nothing and remembers what it was given."""

    causal, bounded = True, True
    seen: Tensor

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, None]:
        self.seen = x.detach()
        return x, None


def _plain(column: Mixer | None = None, cls: str = "middle", grid: tuple[int, int] = (3, 4), **options) -> Plain:
    return Plain(Patches(8, 2), column or _Watch(), grid=grid, cls=cls, norm=nn.Identity(), **options).double()


def _attention() -> Stack:
    return Stack([Block(8, Attention(8, 2, causal=False)) for _ in range(2)])


def _picture(rows: int, columns: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 2 * rows, 2 * columns, dtype=torch.float64)


@pytest.mark.parametrize("rows, columns", [(3, 4), (3, 3), (1, 1), (5, 7)])
@pytest.mark.parametrize("cls", ["first", "middle", "last"])
def test_the_class_token_stands_where_it_was_told_and_brings_its_own_place(rows, columns, cls):
    model, picture = _plain(cls=cls), _picture(rows, columns)
    N = rows * columns
    out = model(picture)
    at = {"first": 0, "middle": N // 2, "last": N}[cls]
    assert model.class_index(N) == at
    seen = model.column.seen
    assert seen.shape == (2, N + 1, 8)
    torch.testing.assert_close(seen[:, at], (model.cls_token + model.cls_place).expand(2, 8))
    patches = model.embed(picture[:, None], torch.zeros(1)).tokens + model.place((rows, columns))
    torch.testing.assert_close(torch.cat([seen[:, :at], seen[:, at + 1 :]], 1), patches)
    torch.testing.assert_close(out, seen[:, at])


def test_without_a_class_token_the_mean_of_the_patches_is_read():
    model = _plain(cls="none", classes=5)
    out = model(_picture(3, 4))
    assert model.column.seen.shape == (2, 12, 8) and not hasattr(model, "cls_token")
    torch.testing.assert_close(out, model.head(model.column.seen.mean(1)))


def test_dropped_patches_take_their_places_with_them():
    model, picture = _plain(_attention()), _picture(3, 4)
    torch.testing.assert_close(model(picture, torch.ones(2, 12, dtype=torch.bool)), model(picture))
    keep = torch.rand(2, 12).argsort(1) < 5
    watching = _plain(_Watch())
    watching(picture, keep)
    whole = watching.embed(picture[:, None], torch.zeros(1)).tokens + watching.place((3, 4))
    seen = watching.column.seen
    assert seen.shape == (2, 6, 8)
    for row in range(2):
        kept = whole[row, keep[row]]
        torch.testing.assert_close(seen[row], torch.cat([kept[:2], seen[row, 2:3], kept[2:]]))
    torch.testing.assert_close(seen[:, 2], (watching.cls_token + watching.cls_place).expand(2, 8))


def test_attention_does_not_care_where_the_class_token_stands_and_a_scan_does():
    picture = _picture(3, 4)
    keep = torch.rand(2, 12).argsort(1) < 7
    models = {cls: _plain(_attention(), cls, classes=3) for cls in ("first", "middle", "last")}
    for model in models.values():
        model.load_state_dict(models["first"].state_dict())
    for given in (None, keep):
        outs = [model(picture, given) for model in models.values()]
        torch.testing.assert_close(outs[0], outs[1])
        torch.testing.assert_close(outs[0], outs[2])
    scans = [_plain(BidirectionalMamba(8), cls) for cls in ("first", "middle")]
    scans[1].load_state_dict(scans[0].state_dict())
    assert (scans[0](picture) - scans[1](picture)).abs().max() > 1e-9


def test_a_film_is_encoded_frame_by_frame_with_its_provenance():
    model = _plain(Stack([BidirectionalMamba(8)]))
    film, seconds = torch.rand(2, 5, 3, 6, 8, dtype=torch.float64), torch.tensor([0.0, 0.5, 1.0, 2.0, 7.0])
    seq = model.encode(film, seconds)
    before = model.embed(film, seconds)
    assert seq.grid == (5, 3, 4) and torch.equal(seq.span, before.span) and torch.equal(seq.box, before.box)
    torch.testing.assert_close(seq.tokens[:, 36:48], model.encode(film[:, 3:4], seconds[3:4]).tokens)


def test_mixers_that_know_their_grid_work_without_a_class_token():
    scan = Scan(BidirectionalMamba(8), cross, (1, 3, 4))
    assert _plain(scan, "none", classes=4)(_picture(3, 4)).shape == (2, 4)


def test_every_weight_learns():
    model = Plain(Patches(8, 2), _attention(), grid=(3, 4), cls="middle", classes=3).double()
    model(_picture(3, 4)).square().sum().backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: _plain(cls="centre"), "first, middle, last, none, got 'centre'"),
        (lambda: _plain(classes=-1), "got -1"),
        (lambda: _plain(cls="none").class_index(3), "no class token"),
        (lambda: _plain()(torch.rand(1, 2, 3, 4, 4)), "films go to encode"),
        (lambda: _plain()(_picture(3, 4)[..., :7]), "resize or pad"),
        (lambda: _plain()(_picture(3, 4), torch.ones(2, 12)), "bool.*float32"),
        (lambda: _plain()(_picture(3, 4), torch.ones(2, 13, dtype=torch.bool)), r"\(2, 12\).*\(2, 13\)"),
        (lambda: _plain()(_picture(3, 4), torch.eye(2, 12) > 2), r"equally many.*\[0, 0\]"),
        (lambda: _plain()(_picture(3, 4), torch.ones(2, 12).tril() > 0), r"equally many.*\[1, 2\]"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
