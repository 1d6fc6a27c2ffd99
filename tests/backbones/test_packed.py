"""A picture gets the same logits alone, in company, early or late in a row, with padding and without."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from seefar.backbones import AttentionPool, Packed
from seefar.embed import images_in, pack_images
from seefar.mixers import Attention, Block, Stack
from seefar.positions import FactorisedGrid


def _model(kind: str = "absolute", backend: str | None = None, classes: int = 5) -> Packed:
    torch.manual_seed(0)
    blocks = [
        Block(12, Attention(12, 3, causal=False, qk_norm=nn.RMSNorm, backend=backend), norm=nn.LayerNorm)
        for _ in range(2)
    ]
    place, pool = FactorisedGrid(12, 10, kind), AttentionPool(12, 3)
    model = Packed(Stack(blocks), place, pool, features=48, dim=12, classes=classes).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def _picture(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, 4 * rows, 4 * columns, generator=generator, dtype=torch.float64)


OTHERS = [(1, 1), (2, 5), (7, 1), (3, 3), (1, 10), (4, 2), (10, 1)]


@pytest.mark.parametrize("kind", ["absolute", "fractional"])
@pytest.mark.parametrize("backend", ["sdpa", "tiled", "reference"])
def test_company_place_and_padding_change_nothing(kind, backend):
    model, picture = _model(kind, backend), _picture(3, 5, 99)
    alone = model(pack_images([picture], 4, 15))
    assert alone.std() > 0.1
    others = [_picture(*size, seed) for seed, size in enumerate(OTHERS)]
    for count in (0, 1, 7):
        for before in sorted({0, count // 2, count}):
            images = [*others[:before], picture, *others[before:count]]
            used = sum(image[0].numel() // 16 for image in images)
            for length in (used, used + 1, 2 * used):
                seq = pack_images(images, 4, length)
                assert len(seq.tokens) == 1
                torch.testing.assert_close(model(seq)[before], alone[0], rtol=1e-10, atol=1e-10)


def test_what_was_dropped_is_the_same_loss_alone_and_in_company():
    model, picture = _model("fractional"), _picture(3, 5, 99)
    others = [_picture(*size, seed) for seed, size in enumerate(OTHERS)]
    shares = [0.5] + [0.3] * 7
    thin = [
        pack_images(images, 4, 60, drop=shares[: len(images)], generator=torch.Generator().manual_seed(0))
        for images in ([picture], [picture, *others])
    ]
    logits = [model(seq)[0] for seq in thin]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-10, atol=1e-10)
    assert not torch.allclose(logits[0], model(pack_images([picture], 4, 60))[0])


def test_no_gradient_flows_from_one_picture_into_the_pixels_of_another():
    model = _model()
    images = [_picture(*size, seed).requires_grad_() for seed, size in enumerate(OTHERS)]
    seq = pack_images(images, 4, 40)
    assert len(seq.tokens) == 2
    for k, logits in zip(images_in(seq).tolist(), model(seq), strict=True):
        grads = torch.autograd.grad(logits.square().sum(), images, retain_graph=True)
        assert all((grad == 0).all() for i, grad in enumerate(grads) if i != k) and (grads[k] != 0).all()


def test_logits_come_row_by_row_whatever_the_order_of_packing():
    model = _model()
    images = [_picture(*size, seed) for seed, size in enumerate([*OTHERS, (1, 2)])]
    seq = pack_images(images, 4, 20)
    order = images_in(seq).tolist()
    assert order == [0, 1, 2, 7, 3, 4, 5, 6]
    alone = torch.cat([model(pack_images([images[i]], 4, 20)) for i in order])
    torch.testing.assert_close(model(seq), alone, rtol=1e-10, atol=1e-10)


def test_encoded_tokens_keep_their_provenance():
    seq = pack_images([_picture(2, 3, 0), _picture(1, 2, 1)], 4, 10)
    out = _model().encode(seq)
    assert out.tokens.shape == (1, 10, 12)
    for name in ("box", "segment", "mask", "mass", "span"):
        assert getattr(out, name) is getattr(seq, name)


def test_every_weight_learns():
    model = _model()
    model(pack_images([_picture(9, 10, 0), _picture(10, 9, 1)], 4, 190)).square().sum().backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


def _overflown():
    seq = pack_images([_picture(2, 3, 0)], 4, 10)
    return replace(seq, segment=seq.segment.clamp(min=0))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: _model(classes=-1), "got 48, 12, -1"),
        (lambda: _model()(pack_images([_picture(2, 3, 0)], 2, 24)), "48 features.*got 12.*pack_images"),
        (lambda: _model()(_overflown()), "padding bears the segment of a picture"),
        (lambda: _model()(pack_images([_picture(1, 11, 0)], 4, 11)), "column 10 has no place"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
