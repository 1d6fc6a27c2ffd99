"""The provenance laws of VisualSequence, on random chains of its operations.

Each source token is a one-hot vector of its own. Merging by mass then keeps, in ``tokens * mass``, which sources a
token stands for, whatever the chain: an oracle that shares nothing with the bookkeeping under test.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seefar.sequence import Clip, VisualSequence

CALM = settings(max_examples=60, deadline=None, derandomize=True)


def sources(grid, batch=2, seed=0, packed=False):
    """A raster of one-hot tokens at uneven times; with ``packed`` a ragged row of two films."""
    random = torch.Generator().manual_seed(seed)
    T, H, W = grid
    N = T * H * W
    seconds = (torch.rand(batch, T, generator=random) * 3).round(decimals=1).cumsum(1).double()
    length = (torch.rand(batch, T, generator=random) * 2).round(decimals=1).double()
    eye = torch.eye(N, dtype=torch.float64).reshape(1, T, H, W, N).expand(batch, -1, -1, -1, -1)
    seq = VisualSequence.of_grid(eye, torch.stack([seconds, seconds + length], -1))
    if packed:
        films = torch.arange(T)[:, None].expand(T, H * W).reshape(-1) >= (T + 1) // 2
        mask = torch.ones(batch, N, dtype=torch.bool)
        mask[0, N - 1 :] = False
        seq = VisualSequence(
            seq.tokens, seq.span, seq.box, seq.mass * mask, torch.where(mask, films.long(), -1), mask, None
        )
        seq = seq.take(mask)  # padding now looks as the library makes it
    return seq


@st.composite
def chains(draw):
    """(sources, result, dropped): a random chain of operations, and the sources that its takes and merges dropped."""
    grid = draw(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)))
    packed = draw(st.booleans())
    start = sources(grid, seed=draw(st.integers(0, 10**6)), packed=packed)
    random = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    seq, dropped = start, start.mass.new_zeros(start.tokens.shape[0], start.tokens.shape[2], dtype=torch.float64)
    for step in draw(st.lists(st.sampled_from(["take", "places", "merge", "drop", "pool", "cat"]), max_size=6)):
        B, N = seq.mask.shape
        before = members(seq).sum(1)
        if step == "take":
            seq = seq.take(torch.rand(B, N, generator=random) < 0.8)
        elif step == "places" and N:
            order = torch.rand(B, N, generator=random).argsort(1)[:, : draw(st.integers(1, N))]
            seq = seq.take(torch.where(torch.rand(order.shape, generator=random) < 0.1, -1, order))
        elif step in ("merge", "drop"):
            group = (torch.rand(B, N, generator=random) * draw(st.integers(1, 6))).long() + 7
            group = group * 2 + seq.segment.clamp(min=0)  # films stay apart
            seq = seq.merge(
                torch.where(torch.rand(B, N, generator=random) < 0.2, -1, group) if step == "drop" else group
            )
        elif step == "pool" and seq.grid is not None:
            seq = seq.pool(tuple(int(n) for n in torch.randint(1, 4, (3,), generator=random)))
        elif step == "cat":
            left = torch.rand(B, N, generator=random) < 0.5
            seq = VisualSequence.cat([seq.take(left), seq.take(~left)])
        after = members(seq).sum(1)
        dropped += before - after
        if step in ("merge", "pool", "cat"):
            torch.testing.assert_close(after, before, rtol=0, atol=1e-9)
    return start, seq, dropped


def members(seq):
    """(B, N, sources): how much of each source a token stands for."""
    return seq.tokens * seq.mass[..., None].double()


@CALM
@given(chains())
def test_mass_counts_the_sources_and_shrinks_by_what_was_dropped_alone(chain):
    start, seq, dropped = chain
    owned = members(seq)
    torch.testing.assert_close(owned, owned.round(), rtol=0, atol=1e-9)  # each source is wholly in one token or gone
    assert owned.sum(1).round().max() <= 1
    torch.testing.assert_close(owned.sum(-1), seq.mass.double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(start.mass.double().sum(1) - dropped.sum(1), seq.mass.double().sum(1), rtol=0, atol=1e-9)


@CALM
@given(chains())
def test_spans_and_boxes_are_exactly_the_hulls_of_the_sources(chain):
    start, seq, _ = chain
    place = start.tokens.argmax(-1)  # where each source stands in the start
    for row in range(len(seq.mask)):
        for n in range(int(seq.count[row])):
            mine = members(seq)[row, n].round().nonzero()[:, 0]
            at = torch.isin(place[row], mine) & start.mask[row]
            span, box = start.span[row][at], start.box[row][at]
            assert seq.span[row, n].tolist() == [span[:, 0].min().item(), span[:, 1].max().item()]
            assert torch.equal(seq.box[row, n], torch.cat([box[:, :2].amin(0), box[:, 2:].amax(0)]))
            assert (start.segment[row][at] == seq.segment[row, n]).all(), "films were mixed"


@CALM
@given(chains())
def test_tokens_stand_in_time_order_and_padding_is_empty_and_last(chain):
    _, seq, _ = chain
    assert (seq.mask.int().diff(dim=1) <= 0).all()
    for row in range(len(seq.mask)):
        n = int(seq.count[row])
        keys = list(zip(seq.segment[row, :n].tolist(), seq.span[row, :n, 0].tolist(), strict=True))
        assert keys == sorted(keys)
    pad = ~seq.mask
    assert (seq.mass[pad] == 0).all() and (seq.tokens[pad] == 0).all() and (seq.segment[pad] == -1).all()
    assert seq.mask.shape[1] == 0 or seq.mask.any(0).all(), "a column of padding alone was left"


@CALM
@given(chains())
def test_a_grid_is_claimed_only_by_a_full_raster(chain):
    _, seq, _ = chain
    if seq.grid is None:
        return
    T, H, W = seq.grid
    assert seq.mask.all()
    span, box = seq.span.reshape(-1, T, H * W, 2), seq.box.reshape(-1, T, H * W, 4)
    assert (span == span[:, :, :1]).all() and (box == box[:, :1]).all()


@given(st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(1, 5)), st.tuples(*[st.integers(1, 4)] * 3))
@CALM
def test_pool_is_the_mean_over_windows_with_smaller_ones_at_the_edges(grid, window):
    x = torch.randn(2, *grid, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pooled = VisualSequence.of_grid(x, torch.arange(grid[0])).pool(window)
    assert pooled.grid == tuple(math.ceil(n / k) for n, k in zip(grid, window, strict=True))
    n = 0
    for t in range(0, grid[0], window[0]):
        for i in range(0, grid[1], window[1]):
            for j in range(0, grid[2], window[2]):
                block = x[:, t : t + window[0], i : i + window[1], j : j + window[2]].flatten(1, 3)
                torch.testing.assert_close(pooled.tokens[:, n], block.mean(1))
                assert (pooled.mass[:, n] == block.shape[1]).all()
                n += 1
    assert n == len(pooled)


def test_merge_weighs_by_mass_or_plainly():
    seq = VisualSequence.of_grid(torch.tensor([0.0, 0.0, 0.0, 8.0]).reshape(1, 4, 1, 1, 1), torch.arange(4))
    three_one = seq.merge(torch.tensor([[0, 0, 0, 1]]))
    together = torch.tensor([[5, 5]])
    assert three_one.mass.tolist() == [[3, 1]]
    assert three_one.merge(together).tokens.item() == 2.0
    assert three_one.merge(together, weight="mean").tokens.item() == 4.0
    assert three_one.merge(together, weight="mean").mass.item() == 4


def test_group_numbers_may_have_any_gaps():
    seq = VisualSequence.of_grid(torch.randn(2, 3, 1, 2, 4), torch.arange(3))
    few = torch.tensor([[0, 0, 1, 1, -1, 2], [2, 1, 1, 0, 0, 0]])
    wide = torch.where(few < 0, -1, few * 10**15 + 3)
    a, b = seq.merge(few), seq.merge(wide)
    assert torch.equal(a.tokens, b.tokens) and torch.equal(a.mass, b.mass) and torch.equal(a.span, b.span)


def test_half_precision_does_not_lose_the_mean_of_many():
    x = torch.randn(1, 4000, 1, 1, 2, generator=torch.Generator().manual_seed(0)).bfloat16() + 1
    merged = VisualSequence.of_grid(x, torch.arange(4000)).merge(torch.zeros(1, 4000, dtype=torch.int64))
    assert merged.tokens.dtype == torch.bfloat16 and merged.mass.item() == 4000
    torch.testing.assert_close(merged.tokens[0, 0].double(), x.double().mean((0, 1, 2, 3)), rtol=2**-8, atol=0)


def test_gradients_flow_through_take_merge_pool_and_cat():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, generator=random, requires_grad=True)
    group = torch.randint(-1, 4, (2, 12), generator=random)
    keep = torch.rand(2, 4, generator=random) < 0.6

    def chain(x):
        seq = VisualSequence.of_grid(x, torch.arange(3))
        parts = [seq.merge(group).merge(torch.zeros(2, 4, dtype=torch.int64)), seq.pool((2, 2, 1)).take(keep)]
        return VisualSequence.cat(parts).tokens

    assert torch.autograd.gradcheck(chain, x)
    (grad,) = torch.autograd.grad(VisualSequence.of_grid(x, torch.arange(3)).merge(group).tokens.sum(), x)
    assert torch.equal(grad.reshape(2, 12, 2)[..., 0] != 0, group >= 0), (
        "each kept source, and no dropped one, gets its share"
    )


def test_cat_keeps_the_raster_of_pieces_of_one_film_and_no_other():
    a = VisualSequence.of_grid(torch.randn(1, 2, 2, 2, 3), torch.tensor([0.0, 1.0]))
    b = VisualSequence.of_grid(torch.randn(1, 3, 2, 2, 3), torch.tensor([1.0, 2.0, 2.0]))
    film = VisualSequence.cat([a, b])
    assert film.grid == (5, 2, 2) and torch.equal(film.tokens, torch.cat([a.tokens, b.tokens], 1))
    assert VisualSequence.cat([b, a]).grid is None  # order had to be mended
    assert torch.equal(VisualSequence.cat([b, a]).span[..., 0], film.span[..., 0])
    other = VisualSequence.of_grid(torch.randn(1, 1, 1, 4, 3), torch.tensor([9.0]))
    assert VisualSequence.cat([a, other]).grid is None
    assert VisualSequence.cat([a, b.take(torch.arange(11)[None])]).grid is None


def test_take_keeps_the_order_whatever_order_was_named():
    seq = VisualSequence.of_grid(torch.arange(5.0).reshape(1, 5, 1, 1, 1), torch.arange(5))
    assert seq.take(torch.tensor([[4, -1, 0, 2]])).tokens.flatten().tolist() == [0, 2, 4]
    assert seq.take(torch.tensor([[4, 3, 2, 1, 0]])).grid == (5, 1, 1)
    assert len(seq.take(torch.full((1, 3), -1))) == 0 and len(seq.take(torch.zeros(1, 5, dtype=torch.bool))) == 0


def test_rows_may_keep_different_numbers():
    seq = VisualSequence.of_grid(torch.arange(8.0).reshape(2, 4, 1, 1, 1), torch.arange(4))
    some = seq.take(torch.tensor([[True, False, True, True], [False, False, False, True]]))
    assert some.count.tolist() == [3, 1] and some.tokens[..., 0].tolist() == [[0, 2, 3], [7, 0, 0]]


SEQ = VisualSequence.of_grid(torch.randn(2, 2, 1, 2, 3), torch.arange(2))
PACKED = sources((4, 1, 2), packed=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SEQ.take(torch.tensor([[0, 0], [0, 1]])), "named twice"),
        (lambda: SEQ.take(torch.tensor([[0, 4], [0, 1]])), r"lie in \[-1, 4\), got 0 to 4"),
        (lambda: SEQ.take(torch.tensor([[0, -2], [0, 1]])), "got -2 to 1"),
        (lambda: SEQ.take(torch.tensor([0, 1])), r"positions must be \(2, K\)"),
        (lambda: SEQ.take(torch.ones(2, 3, dtype=torch.bool)), r"bool choice must be \(2, 4\), got \(2, 3\)"),
        (lambda: SEQ.merge(torch.zeros(2, 3, dtype=torch.int64)), r"group must be \(2, 4\) int64"),
        (lambda: SEQ.merge(torch.zeros(2, 4)), "int64"),
        (lambda: SEQ.merge(torch.zeros(2, 4, dtype=torch.int64), weight="max"), "'mass' or 'mean', got 'max'"),
        (
            lambda: PACKED.merge(torch.zeros_like(PACKED.segment)),
            "two segments; films of a packed batch must stay apart",
        ),
        (lambda: SEQ.pool((0, 1, 1)), r"three positive ints .*got \(0, 1, 1\)"),
        (lambda: SEQ.take(torch.tensor([[0], [1]])).pool((1, 1, 1)), "no raster any more"),
        (lambda: VisualSequence.cat([]), "at least one"),
        (lambda: VisualSequence.cat([SEQ, SEQ.map(lambda x: x[..., :2])]), "batch and width must agree"),
        (lambda: VisualSequence.of_grid(torch.randn(1, 2, 1, 1, 3), torch.arange(3)), r"seconds must be \(2,\)"),
        (lambda: SEQ.map(lambda x: x[:, :3]), "beside tokens"),
        (lambda: Clip(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(2).double()), r"\(T, 3, H, W\)"),
        (lambda: Clip(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3).double()), "2 frames need as many"),
        (lambda: Clip(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2)), r"float64, got torch.float32"),
        (lambda: Clip(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([1.0, 0.0]).double()), "must not fall"),
    ],
)
def test_misuse_says_what_was_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()
