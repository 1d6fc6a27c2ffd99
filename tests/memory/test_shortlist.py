"""The shortlist, against a choice made with the whole film at hand."""

import pytest
import torch

from seefar.memory import Shortlist
from seefar.sequence import VisualSequence
from seefar.testing import check_memory


def film(T=60, P=4, seed=0):
    x = torch.randn(1, T, 1, P, 3, generator=torch.Generator().manual_seed(seed))
    return VisualSequence.of_grid(x, torch.arange(T) * 0.5)


def first_channel(seq):
    return seq.tokens[..., 0]


def pieces(seq, size):
    T, H, W = seq.grid
    for start in range(0, T, size):
        stop = min(T, start + size)
        rows = [getattr(seq, name)[:, start * H * W : stop * H * W] for name in seq.__dict__ if name != "grid"]
        yield VisualSequence(*rows, grid=(stop - start, H, W))


def chosen_with_hindsight(seq, frames, margin):
    """Seconds of the best frames: the definition, by loops over the whole film."""
    score = first_channel(seq)[0].reshape(seq.grid[0], -1).amax(1).tolist()
    spread = [
        max(score[u] - 0.01 * abs(u - t) for u in range(len(score)) if abs(u - t) <= margin) for t in range(len(score))
    ]
    best = sorted(range(len(score)), key=lambda t: -spread[t])[:frames]
    return [t * 0.5 for t in sorted(best)]


@pytest.mark.parametrize("margin", [0, 1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_however_the_film_is_cut_the_best_frames_of_the_whole_are_held(size, margin):
    seq, memory = film(), Shortlist(first_channel, 32, margin=margin)
    for piece in pieces(seq, size):
        memory.write(piece)
    out = memory.read(32)
    assert out.span[0, ::4, 0].tolist() == chosen_with_hindsight(seq, 8, margin)
    for n in range(32):
        at = int(out.span[0, n, 0] / 0.5) * 4 + n % 4
        assert torch.equal(out.tokens[0, n], seq.tokens[0, at]) and torch.equal(out.box[0, n], seq.box[0, at])


def test_of_each_frame_its_most_relevant_tokens_are_kept_in_their_order():
    seq, memory = film(T=3), Shortlist(first_channel, 6, per_frame=2)
    memory.write(seq)
    out = memory.read(6)
    for t in range(3):
        best = first_channel(seq)[0, 4 * t : 4 * t + 4].topk(2).indices.sort().values
        assert torch.equal(out.tokens[0, 2 * t : 2 * t + 2], seq.tokens[0, 4 * t + best])


def test_which_tokens_of_a_frame_are_kept_can_be_picked_by_something_else():
    seq = film(T=12)

    def pick(seq, relevance_TP, keep):
        torch.testing.assert_close(relevance_TP.flatten(), first_channel(seq)[0])
        return seq.tokens[0, :, 1].reshape(-1, 4).topk(keep, 1).indices

    memory = Shortlist(first_channel, 6, per_frame=2, margin=0, pick=pick)
    memory.write(seq)
    out = memory.read(6)
    times = out.span[0, ::2, 0]
    assert times.tolist() == chosen_with_hindsight(seq, 3, 0)
    for n, t in enumerate((times * 2).long().tolist()):
        best = seq.tokens[0, 4 * t : 4 * t + 4, 1].topk(2).indices.sort().values
        assert torch.equal(out.tokens[0, 2 * n : 2 * n + 2], seq.tokens[0, 4 * t + best])


def test_what_is_irrelevant_costs_nothing_but_a_few_frames_stay():
    memory = Shortlist(first_channel, 200, margin=0, threshold=2.0, least=3)
    memory.write(film())
    above = int((first_channel(film())[0].reshape(60, 4).amax(1) > 2).sum())
    assert 3 < above < 50 and len(memory.read(200)) == 4 * above
    memory = Shortlist(first_channel, 200, margin=0, threshold=99.0, least=3)
    memory.write(film())
    assert len(memory.read(200)) == 4 * 3


def test_the_contract_holds(tmp_path):
    check_memory(lambda: Shortlist(first_channel, 8, per_frame=1), list(pieces(film(), 7)), tmp_path)


@pytest.mark.parametrize("margin", [0, 2])
def test_it_holds_little_more_than_its_capacity_on_an_endless_stream(margin):
    memory = Shortlist(first_channel, 32, margin=margin)
    for piece in pieces(film(T=400), 25):
        memory.write(piece)
        assert memory._held["mass"].numel() <= 32 + 4 * margin


@pytest.mark.parametrize("margin", [0, 2])
def test_time_that_goes_backwards_is_refused(margin):
    falling = film()
    falling = falling.map(
        lambda x: -torch.arange(240.0)[None, :, None].expand(1, 240, 3)
    )  # the last frames score least
    memory = Shortlist(first_channel, 32, margin=margin)
    memory.write(falling)
    late = next(iter(pieces(falling, 5)))
    late = VisualSequence(
        **{**late.__dict__, "span": late.span + 20}
    )  # after the frames held, before the last one written
    with pytest.raises(ValueError, match="back in time"):
        memory.write(late)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.write(film().take(torch.arange(5)[None])), "whole frames"),
        (lambda m: m.write(film().map(lambda x: x / 0 * 0)), "NaN"),
        (lambda m: Shortlist(first_channel, 3).write(film()), "less than one frame; the smallest is 4"),
        (lambda m: (m.write(film()), m.read(3)), "budget 3 is less than one frame; the smallest is 4"),
        (lambda m: m.read(8), "nothing was written"),
        (lambda m: Shortlist(first_channel, 0), "positive number of tokens, got 0"),
    ],
)
def test_misuse_says_what_was_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call(Shortlist(first_channel, 32))
