"""Vim has the published sizes, takes the released weights, and its experiment runs."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers import BidirectionalMamba, Mamba
from seefar.papers import vim
from seefar.papers._card import Scale
from seefar.papers.vim import build
from seefar.testing import check_paper


def _official(dim: int = 192, depth: int = 24) -> dict[str, Tensor]:
    """Random weights under the names and in the shapes of the released ``*-midclstok`` files."""
    inner, rank, S = 2 * dim, dim // 16, 16
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, 197, dim),
        "patch_embed.proj.weight": (dim, 3, 16, 16),
        "patch_embed.proj.bias": (dim,),
        "norm_f.weight": (dim,),
        "head.weight": (1000, dim),
        "head.bias": (1000,),
    }
    for i in range(depth):
        shapes[f"layers.{i}.norm.weight"] = (dim,)
        mixer = {"in_proj.weight": (2 * inner, dim), "out_proj.weight": (dim, inner)}
        for b, log_A in (("", "A_log"), ("_b", "A_b_log")):
            mixer |= {
                f"conv1d{b}.weight": (inner, 1, 4),
                f"conv1d{b}.bias": (inner,),
                f"x_proj{b}.weight": (rank + 2 * S, inner),
                f"dt_proj{b}.weight": (inner, rank),
                f"dt_proj{b}.bias": (inner,),
                log_A: (inner, S),
                f"D{b}": (inner,),
            }
        shapes |= {f"layers.{i}.mixer.{name}": shape for name, shape in mixer.items()}
    generator = torch.Generator().manual_seed(0)

    return {name: torch.randn(shape, generator=generator) * shape[-1] ** -0.5 for name, shape in shapes.items()}


def _by_hand(weights: dict[str, Tensor], picture: Tensor, depth: int) -> Tensor:
    """The released network written down from its description, on mixers of transformers."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    dim = weights["norm_f.weight"].shape[0]
    config = MambaConfig(hidden_size=dim, state_size=16, num_hidden_layers=1)

    def mixer(i: int, back: bool) -> nn.Module:
        mine = {name.split(".mixer.")[-1]: w for name, w in weights.items() if name.startswith(f"layers.{i}.mixer.")}
        names = ("conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log", "D")
        there = {n: n.replace(".", "_b.") if "." in n else n.replace("_log", "_b_log") for n in names} | {"D": "D_b"}
        own = {n: mine[there[n] if back else n] for n in names}
        one = MambaMixer(config, 0).double()
        one.load_state_dict(own | {n: mine[n] for n in ("in_proj.weight", "out_proj.weight")})
        return one

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * weight

    x = F.conv2d(picture, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=16)
    grid, x = x.shape[2:], x.flatten(2).mT
    table, middle = weights["pos_embed"][0], x.shape[1] // 2
    square = torch.cat([table[:98], table[99:]]).T.reshape(1, dim, 14, 14)
    place = F.interpolate(square, size=grid, mode="bicubic").flatten(2).mT
    x = x + place
    summary = (weights["cls_token"] + table[98]).expand(len(x), 1, -1)
    hidden, residual = torch.cat([x[:, :middle], summary, x[:, middle:]], 1), torch.zeros(())
    for i in range(depth):
        residual = residual + hidden
        normed = norm(residual, weights[f"layers.{i}.norm.weight"])
        hidden = (mixer(i, False)(normed) + mixer(i, True)(normed.flip(1)).flip(1)) / 2
    x = norm(residual + hidden, weights["norm_f.weight"])[:, middle]
    return x @ weights["head.weight"].T + weights["head.bias"]


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(vim, Scale("smoke", (0,)))


@pytest.mark.parametrize("name, count", [("vim_tiny", 7_148_008), ("vim_small", 25_796_584), ("vim_base", 97_598_440)])
def test_the_sizes_have_their_published_parameters(name, count):
    with torch.device("meta"):
        model = build(name)
    assert sum(p.numel() for p in model.parameters()) == count


def test_two_whole_mambas_would_be_three_quarters_larger():
    with torch.device("meta"):
        ours, one, two = (
            sum(p.numel() for p in make.parameters()) for make in (build(), BidirectionalMamba(192), Mamba(192))
        )
    assert 24 * (2 * two - one) / ours == pytest.approx(0.74, abs=0.01)


def test_an_official_checkpoint_loads_with_no_key_missing_or_left_over():
    weights = _official()
    assert sum(weight.numel() for weight in weights.values()) == 7_148_008
    model = build(weights={"model": weights, "epoch": 300})
    blocks = dict(model.column.blocks[7].mixer.named_parameters())
    for name, weight in blocks.items():
        assert torch.equal(weight, weights[f"layers.7.mixer.{name}"]), name
    assert torch.equal(model.cls_place, weights["pos_embed"][0, 98])


@pytest.mark.parametrize("size", [(224, 224), (48, 48), (64, 80)])
def test_official_weights_give_the_features_written_down_by_hand(size, monkeypatch):
    weights = _official(dim=32, depth=3)
    monkeypatch.setitem(vim.WIDTHS, "vim_tiny", 32)
    model = build(depth=3, weights=weights).double()
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # theirs rounds A, D and the bias of the step to float32
    picture = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        wanted = _by_hand({name: weight.double() for name, weight in weights.items()}, picture, 3)
        assert wanted.std() > 0.1
        torch.testing.assert_close(model(picture), wanted, rtol=1e-9, atol=1e-9)


def test_places_at_1248_pixels_are_the_table_enlarged_around_the_class_token():
    weights = _official()
    model = build(weights=weights)
    table = weights["pos_embed"][0]
    square = torch.cat([table[:98], table[99:]]).T.reshape(1, 192, 14, 14)
    large = F.interpolate(square, size=(78, 78), mode="bicubic")[0].flatten(1).T
    torch.testing.assert_close(model.place((78, 78)), large)
    assert model.class_index(196) == 98 and model.class_index(6084) == 3042 and model.class_index(9) == 4


def test_released_blocks_begin_small():
    weight = build(depth=24).column.blocks[0].mixer.out_proj.weight
    assert weight.abs().max().item() == pytest.approx((384 * 24) ** -0.5, rel=0.01)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: build("vim_huge"), "vim_tiny, vim_small, vim_base, got 'vim_huge'"),
        (lambda: build(size=230), "got 230; try 224"),
        (lambda: build(size=1248, depth=1, weights=_official(depth=1)), "places for 196 patches.*6084"),
        (lambda: build(depth=2, weights=_official(depth=3)), r"blocks\.2\..*too many"),
        (lambda: build(depth=1)(torch.rand(1, 3, 100, 96)), "height 100.*multiple of the patch 16"),
        (lambda: build(depth=1).column(torch.rand(1, 5, 192), (None,)), "not causal"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
