"""NaViT has the size of the ViT it is measured against, sees a picture as if alone, and its experiment runs."""

import pytest
import torch
from torch import nn

from seefar.embed import pack_images
from seefar.papers import navit
from seefar.papers._card import Scale
from seefar.papers.navit import build
from seefar.testing import check_paper


def _small(**options):
    return build(16, 2, 2, patch=4, classes=5, sides=16, **options).double()


def _picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, height, width, generator=generator, dtype=torch.float64)


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(navit, Scale("smoke", (0,)))


@pytest.mark.parametrize("dim, depth, heads, millions", [(768, 12, 12, 86), (1024, 24, 16, 303)], ids=["B", "L"])
def test_the_column_is_as_large_as_that_of_the_vit_of_its_name(dim, depth, heads, millions):
    with torch.device("meta"):
        model = build(dim, depth, heads, classes=0)
    pooling = sum(p.numel() for p in model.pool.parameters())
    assert (sum(p.numel() for p in model.parameters()) - pooling) / 1e6 == pytest.approx(millions, abs=1)


def test_queries_keys_values_and_norms_have_no_bias():
    parts = dict(_small().named_modules())
    bare = [part for part in parts.values() if isinstance(part, nn.LayerNorm)]
    bare += [part for name, part in parts.items() if name.endswith(("q_proj", "k_proj", "v_proj"))]
    assert len(bare) == 6 + 9 and all(part.bias is None for part in bare)


@pytest.mark.parametrize("kind", ["absolute", "fractional"])
def test_seven_others_in_its_row_change_nothing_for_a_picture(kind):
    model, picture = _small(kind=kind), _picture(12, 40)
    others = [_picture(4 * (1 + i % 3), 4 * (1 + i), i + 1) for i in range(7)]
    seq = pack_images([*others[:4], picture, *others[4:]], 4, 130)
    assert len(seq.tokens) == 1 and not seq.mask.all()
    alone = model(pack_images([picture], 4, 30))
    torch.testing.assert_close(model(seq)[4:5], alone, rtol=1e-10, atol=1e-10)


def test_a_picture_larger_than_any_before_has_a_fractional_place_and_no_absolute_one():
    seq = pack_images([_picture(4, 68)], 4, 17)
    assert _small(kind="fractional")(seq).isfinite().all()
    with pytest.raises(ValueError, match=r"column 16 has no place.*sides=17"):
        _small(kind="absolute")(seq)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: build(16, 1, 3), "divide dim=16, got 3"),
        (lambda: build(16, 1, 2, kind="sincos"), "'absolute' or 'fractional', got 'sincos'"),
        (lambda: _small()(pack_images([_picture(8, 8)], 2, 16)), "48 features.*got 12"),
        (lambda: _small()(pack_images([_picture(8, 10)], 4, 16)), "width 10.*pad it to 12"),
        (lambda: _small()(pack_images([_picture(8, 40)], 4, 16)), "makes 20 tokens, a row holds 16"),
        (lambda: _small()(pack_images([], 4, 16)), "at least one picture"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
