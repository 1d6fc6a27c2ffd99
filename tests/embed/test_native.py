"""Pictures of any size are cut, thinned and packed without being split, squashed or mixed up."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.embed import first_fit, fit_tokens, images_in, pack_images, squash

SIZES = [(8, 24), (4, 4), (20, 8), (12, 12), (4, 40), (16, 4)]  # in pixels; 12, 1, 10, 9, 10 and 4 patches of 4


def pictures(channels: int = 3, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(channels, *size, generator=generator) for size in SIZES]


def test_a_token_is_the_unfolded_square_of_its_picture_and_bears_its_number():
    images = pictures()
    seq = pack_images(images, 4, 24)
    assert seq.tokens.shape == (2, 24, 48) and seq.count.tolist() == [23, 23]
    assert images_in(seq).tolist() == [0, 1, 2, 3, 4, 5]
    for i, image in enumerate(images):
        want = F.unfold(image[None], 4, stride=4)[0].T
        assert torch.equal(seq.tokens[seq.segment == i], want)
        rows, columns = image.shape[1] // 4, image.shape[2] // 4
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        box = torch.stack([y / rows, x / columns, (y + 1) / rows, (x + 1) / columns], -1).flatten(0, 1)
        assert torch.equal(seq.box[seq.segment == i], box)


def test_padding_comes_last_and_belongs_to_no_picture():
    seq = pack_images(pictures(), 4, 23, rows=5)
    assert seq.tokens.shape[0] == 5 and (seq.mask.to(torch.int8).diff(dim=1) <= 0).all()
    assert (seq.segment[~seq.mask] == -1).all() and (seq.mass == seq.mask).all()
    for values in (seq.tokens, seq.box, seq.span):
        assert (values[~seq.mask] == 0).all()


def test_no_row_is_overfull_no_picture_is_split_and_each_stands_in_the_first_row_that_had_room():
    generator = torch.Generator().manual_seed(0)
    for length, rows in ((64, None), (100, None), (64, 7)):
        sizes = torch.randint(1, 65, (200,), generator=generator).tolist()
        packed = first_fit(sizes, length, rows)
        assert rows is None or len(packed) == rows
        assert all(sum(sizes[i] for i in row) <= length for row in packed)
        placed = [i for row in packed for i in row]
        assert len(set(placed)) == len(placed) and (rows is not None or len(placed) == 200)
        home = {i: r for r, row in enumerate(packed) for i in row}
        for i, size in enumerate(sizes):
            filled = [sum(sizes[j] for j in row if j < i) for row in packed]
            assert all(length - full < size for full in filled[: home.get(i, len(packed))])


def test_what_finds_no_room_is_left_out_and_said_so():
    images = pictures()
    seq = pack_images(images, 4, 20, rows=1)
    assert images_in(seq).tolist() == [0, 1, 5] and seq.count.tolist() == [17]


def test_dropping_keeps_the_boxes_and_the_pixels_of_what_stays():
    images = pictures()
    whole = pack_images(images, 4, 23)
    shares = [0.5, 0.9, 0.25, 0.0, 0.99, 0.6]
    seq = pack_images(images, 4, 23, drop=torch.tensor(shares), generator=torch.Generator().manual_seed(3))
    kept = [max(1, round(h * w / 16 * (1 - share))) for (h, w), share in zip(SIZES, shares, strict=True)]
    assert [int((seq.segment == i).sum()) for i in range(6)] == kept == [6, 1, 8, 9, 1, 2]
    for i in range(6):
        was = {
            tuple(box): token for box, token in zip(*(_of(whole, i, name) for name in ("box", "tokens")), strict=True)
        }
        now = list(zip(*(_of(seq, i, name) for name in ("box", "tokens")), strict=True))
        assert len({tuple(box) for box, _ in now}) == len(now)
        assert all(was[tuple(box)] == token for box, token in now)
        order = [(box[0], box[1]) for box, _ in now]
        assert order == sorted(order)


def _of(seq, i: int, name: str) -> list:
    return getattr(seq, name)[seq.segment == i].tolist()


def test_one_seed_drops_the_same_tokens_and_others_drop_others():
    drawn = [
        pack_images(pictures(), 4, 23, drop=0.5, generator=torch.Generator().manual_seed(seed)).box
        for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_every_token_is_dropped_as_often_as_any_other():
    generator = torch.Generator().manual_seed(0)
    image = torch.arange(16.0).reshape(1, 4, 4)
    seq = pack_images([image] * 500, 1, 8, drop=0.5, generator=generator)
    often = torch.bincount(seq.tokens.flatten().long(), minlength=16) / 500
    torch.testing.assert_close(often, torch.full((16,), 0.5), rtol=0, atol=0.1)


def test_gradients_reach_the_pixels_that_stayed_and_no_others():
    image = torch.rand(3, 16, 8, requires_grad=True)
    seq = pack_images([image], 4, 8, drop=0.5, generator=torch.Generator().manual_seed(0))
    (seq.tokens * 2).sum().backward()
    assert image.grad is not None and set(image.grad.unique().tolist()) == {0.0, 2.0}
    assert (image.grad == 2).float().mean() == 0.5


@pytest.mark.parametrize("size", [(64, 64), (30, 120), (120, 30), (33, 57), (60, 61), (10, 990), (990, 10)])
@pytest.mark.parametrize("tokens", [1, 7, 16, 49, 200])
def test_a_fitted_picture_obeys_its_budget_and_keeps_its_aspect(size, tokens):
    fitted = fit_tokens(torch.rand(1, *size), 4, tokens)
    rows, columns = fitted.shape[1] // 4, fitted.shape[2] // 4
    assert fitted.shape == (1, 4 * rows, 4 * columns) and 1 <= rows * columns <= tokens
    turned = fit_tokens(torch.rand(1, *size[::-1]), 4, tokens)
    assert turned.shape[1:] == fitted.shape[1:][::-1]
    assert (rows <= columns) if size[0] <= size[1] else (rows >= columns)
    if tokens == 200 and max(size) <= 4 * min(size):
        assert columns / rows == pytest.approx(size[1] / size[0], rel=0.12) and rows * columns >= 170


def test_a_picture_that_fits_is_not_touched_and_another_is_resized_as_pillow_would():
    from PIL import Image

    image = torch.rand(1, 16, 24)
    assert fit_tokens(image, 4, 24) is image
    large = torch.rand(1, 40, 60)
    theirs = Image.fromarray(large[0].numpy()).resize((24, 16), Image.Resampling.BILINEAR)
    torch.testing.assert_close(fit_tokens(large, 4, 24)[0], torch.from_numpy(np.array(theirs)), rtol=0, atol=1e-5)


def test_a_squashed_picture_is_a_square_whatever_it_was():
    image = torch.rand(2, 30, 120)
    assert squash(image, 4, 49).shape == squash(image.mT, 4, 60).shape == (2, 28, 28)
    torch.testing.assert_close(squash(image, 4, 49).mT, squash(image.mT, 4, 49))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: pack_images([], 4, 8), "at least one picture"),
        (lambda: pack_images(pictures(), 4, 11), r"picture 0 makes 12 tokens, a row holds 11.*length=12"),
        (lambda: pack_images([torch.rand(3, 8, 10)], 4, 8), r"picture 0 has width 10.*pad it to 12"),
        (lambda: pack_images([torch.rand(8, 8)], 4, 8), r"\(C, H, W\).*\(8, 8\)"),
        (lambda: pack_images([torch.rand(3, 0, 8)], 4, 8), "hold something"),
        (lambda: pack_images([torch.zeros(3, 8, 8, dtype=torch.uint8)], 4, 8), r"\.float\(\) / 255"),
        (lambda: pack_images([torch.rand(3, 4, 4), torch.rand(1, 4, 4)], 4, 8), "picture 1 is of another kind"),
        (lambda: pack_images(pictures(), 4, 23, drop=1.0), r"\[0, 1\), got 1.0"),
        (lambda: pack_images(pictures(), 4, 23, drop=[0.5]), "6 pictures need as many shares to drop, got 1"),
        (lambda: pack_images(pictures(), 0, 23), "positive, got 0"),
        (lambda: first_fit([3, 9], 8), r"\[1, 8\], got 3 to 9"),
        (lambda: first_fit([3], 8, 0), "positive, got 8 and 0"),
        (lambda: fit_tokens(torch.rand(1, 8, 8), 4, 0), "positive, got 4 and 0"),
        (lambda: squash(torch.rand(1, 8, 8), 0, 4), "positive, got 0 and 4"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
