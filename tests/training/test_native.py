"""Packed batches cost what they say, waste next to nothing, and show pictures at every size."""

from dataclasses import replace

import pytest
import torch

from seefar.embed import images_in, squash
from seefar.synthetic.glyphs import Glyphs
from seefar.training.native import Load, NativeBatches

NATIVE = NativeBatches(Glyphs().draw, patch=8, length=245, rows=4, tokens=(16, 64))
SQUARES = replace(NATIVE, tokens=(49, 49), drop=None, fit=squash)


def test_two_kinds_of_batches_cost_the_same():
    for batches in (NATIVE, SQUARES):
        seq, labels = batches.train(0, 3)
        assert seq.tokens.shape == (4, 245, 64) and len(labels) == len(images_in(seq))


def test_the_label_of_a_packed_picture_is_its_own():
    def flat(count, seed):
        labels = torch.randint(50, (count,), generator=torch.Generator().manual_seed(seed[1]))
        return [torch.full((1, 16 + 8 * (int(k) % 3), 24), float(k)) for k in labels], labels

    for batches in (replace(NATIVE, draw=flat, tokens=(4, 30)), replace(SQUARES, draw=flat)):
        for seq, labels in (batches.train(0, 5), batches.test(60, 20, 0)):
            for i, label in zip(images_in(seq).tolist(), labels.tolist(), strict=True):
                torch.testing.assert_close(seq.tokens[seq.segment == i].mean().item(), float(label))


def test_hardly_any_of_a_packed_batch_is_padding_and_none_of_one_of_squares():
    full = [NATIVE.train(0, step)[0].mask.float().mean().item() for step in range(10)]
    assert sum(full) / 10 >= 0.98
    seq, labels = SQUARES.train(0, 0)
    assert seq.mask.all() and len(labels) == 4 * 5


def test_sizes_and_shares_dropped_vary_from_picture_to_picture():
    seen = [NATIVE.train(0, step)[0] for step in range(10)]
    sizes = torch.cat([torch.bincount(seq.segment[seq.mask]) for seq in seen])
    sizes = sizes[sizes > 0].float()
    assert sizes.mean().item() == pytest.approx(NATIVE.kept, rel=0.15)
    assert sizes.min() <= 6 and sizes.max() >= 35
    whole = replace(NATIVE, drop=None).train(0, 0)[0]
    sizes = torch.bincount(whole.segment[whole.mask])
    assert sizes[sizes > 0].min() >= 11 and sizes.max() <= 64


def test_sides_are_those_of_a_bell_cut_to_its_range_and_small_ones_come_more_often():
    from scipy.stats import truncnorm

    wide = replace(NATIVE, rows=40, drop=None, tokens=(16, 245))
    seq = wide.train(0, 0)[0]
    sizes = torch.bincount(seq.segment[seq.mask])
    sides = sizes[sizes > 0].double().sqrt()
    low, high = 4, 245**0.5
    want = low + (high - low) * (1 + truncnorm(-0.5, 1.5, loc=-0.5).mean()) / 2
    assert sides.mean().item() == pytest.approx(want, rel=0.05) and want < (low + high) / 2
    squares = truncnorm(-0.5, 1.5, loc=-0.5).expect(lambda z: (4 + 4 * (1 + z) / 2) ** 2)
    assert NATIVE.kept == pytest.approx(squares / 2, rel=1e-3)


def test_the_load_of_a_batch_is_counted_on_its_rows():
    load = NATIVE.load((0, 1), (3, 4))
    seqs = [NATIVE.train(seed, step)[0] for seed in (0, 1) for step in (3, 4)]
    assert load.pictures == sum(len(images_in(seq)) for seq in seqs) / 4
    assert load.full == pytest.approx(sum(seq.mask.float().mean().item() for seq in seqs) / 4)
    longest = [max(int((seq.segment == i).sum()) for i in images_in(seq)) for seq in seqs]
    alone = [int(seq.count.sum()) / len(images_in(seq)) / n for seq, n in zip(seqs, longest, strict=True)]
    assert load.alone == pytest.approx(sum(alone) / 4) and load.alone < 0.6
    assert SQUARES.load((0,), (0,)) == Load(20, 1, 1)


def test_a_step_gives_the_same_batch_again_and_the_test_none_of_its_pictures():
    first, again, next_ = (NATIVE.train(0, step)[0].tokens for step in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, next_)
    seq, labels = NATIVE.test(30, 49, 0)
    assert len(labels) == 30 and seq.count.max() <= 245 and torch.bincount(seq.segment[seq.mask]).max() <= 49


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tokens": (64, 16)}, r"\[1, 245\], rising, got \(64, 16\)"),
        ({"tokens": (16, 300)}, r"got \(16, 300\)"),
        ({"drop": (0.0, 1.0)}, r"positive, got \(0.0, 1.0\)"),
        ({"rows": 0}, "positive, got 8 and 0"),
    ],
)
def test_wrong_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(NATIVE, **change)
