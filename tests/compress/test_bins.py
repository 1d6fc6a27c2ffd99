"""adaptive_bins and AdaptiveBins: the published recursion, what is repaired in it, the contract, and refusals."""

import heapq
import warnings

import numpy as np
import pytest
import torch

from seefar.compress import AdaptiveBins, Cosine, TopK, Uniform, adaptive_bins
from seefar.sequence import VisualSequence
from seefar.testing import check_compressor


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def film(T=12, H=2, W=2, D=6, B=2, seed=0):
    return VisualSequence.of_grid(torch.randn(B, T, H, W, D, generator=random(seed)), torch.arange(T) * 0.5)


def ragged(seed=0):
    seq = film(seed=seed, B=3)
    return seq.take(torch.rand(3, 48, generator=random(seed)) < torch.tensor([[0.9], [0.5], [0.1]]))


def scored(scores):
    """A film of one token a frame, and a relevance that gives it these scores."""
    row = torch.as_tensor(scores, dtype=torch.float64)[None]
    return VisualSequence.of_grid(torch.zeros(1, row.shape[1], 1, 1, 2), torch.arange(row.shape[1])), lambda *_: row


QUERY = torch.randn(3, 4, 6, generator=random(5))


def published(scores, M, t1=0.8, depth=5):
    """The recursion as it is published, bin by bin, in NumPy; frames of a bin are (place, score) pairs."""
    if len(scores) < M:
        return list(range(len(scores)))
    s = np.asarray(scores, float)
    s = (s - s.min()) / (s.max() - s.min())

    def kept(frames, level):
        values = [score for _, score in frames]
        if level < depth and not (values and np.mean(heapq.nlargest(M, values)) - np.mean(values) > t1):
            half = len(frames) // 2
            return kept(frames[:half], level + 1) + kept(frames[half:], level + 1)
        return [place for place, _ in heapq.nlargest(int(M / 2**level), frames, key=lambda frame: frame[1])]

    return sorted(kept(list(enumerate(s)), 0))


def lists(count):
    """Lists of scores: flat, peaked, and with one stretch that stands out to a degree."""
    rng = np.random.default_rng(130)
    for i in range(count):
        T = int(rng.integers(70, 900))
        scores = rng.random(T) ** rng.choice([1, 4, 20])
        begin = int(rng.integers(T))
        scores[begin : begin + int(rng.integers(1, 120))] += rng.choice([0, 1, 4, 20])
        yield i, scores.tolist()


def test_it_equals_the_published_recursion_on_200_lists():
    whole = 0
    for i, scores in lists(200):
        M = (32, 64)[i % 2]
        got = adaptive_bins(scores, M)
        assert got == published(scores, M)
        whole += got == sorted(heapq.nlargest(M, range(len(scores)), scores.__getitem__))
    assert 10 < whole < 150, "the lists should reach both ends of the stop test"


@pytest.mark.parametrize(("M", "t1", "depth"), [(64, 0.8, 5), (48, 0.6, 5), (16, 0.5, 3), (5, 0.7, 2), (8, 0.8, 5)])
def test_the_official_counts_are_the_published_ones_and_ours_keep_them_and_add(M, t1, depth):
    for _, scores in lists(30):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            official = adaptive_bins(scores, M, t1=t1, depth=depth, official=True)
        assert official == published(scores, M, t1, depth)
        ours = adaptive_bins(scores, M, t1=t1, depth=depth)
        assert len(ours) == M == len(set(ours))
        if 2**depth <= M:
            assert set(official) <= set(ours)


def test_a_spike_takes_the_whole_budget_and_a_flat_film_is_covered():
    spike = torch.rand(3600, generator=random()) * 0.05
    spike[1000:1064] += 1
    assert adaptive_bins(spike, 64) == list(range(1000, 1064))
    flat = torch.rand(3600, generator=random(1))
    for M in (32, 48, 64):
        kept = torch.tensor(adaptive_bins(flat, M))
        edges = torch.arange(33) * 3600 // 32
        assert len(torch.histogram(kept.double(), edges.double()).hist.nonzero()) == 32, "a part gave no frame"


def test_a_half_that_stands_out_stays_whole_while_the_other_is_halved_on():
    scores = torch.zeros(256, dtype=torch.float64)
    scores[:128] = 0.5  # lifts the mean of the whole film, so that it is halved
    scores[[0, 30, 60, 90]] = 0.6
    scores[200:208] = 1.0
    kept = adaptive_bins(scores, 8, t1=0.8)
    assert kept == [0, 60, 90, 96, 200, 201, 202, 203]
    evenly = adaptive_bins(scores, 8, t1=1.0)
    assert [sum(32 * b <= at < 32 * b + 32 for at in evenly) for b in range(8)] == [1] * 8


def test_the_stop_test_is_strict_and_its_ends_are_top_k_and_equal_bins():
    scores = torch.rand(200, generator=random(3))
    best = scores.argsort(descending=True, stable=True)[:16].sort().values.tolist()
    assert adaptive_bins(scores, 16, t1=-1.0) == adaptive_bins(scores, 16, depth=0) == best
    assert adaptive_bins([0, 0, 0, 1], 1, t1=0.75, depth=1) == [3]
    bins = adaptive_bins(scores, 16, t1=1.0)
    assert [sum(200 * b // 16 <= at < 200 * (b + 1) // 16 for at in bins) for b in range(16)].count(0) <= 1


def test_fewer_frames_than_bins_come_out_whole_and_the_official_loss_is_told():
    flat = torch.rand(500, generator=random(2)).tolist()
    for M in (1, 2, 3, 7, 16, 31):
        assert len(adaptive_bins(flat, M)) == M
        with pytest.warns(RuntimeWarning, match=rf"32 of 32 bins give no frame.*{M} wanted.*0 come out"):
            assert adaptive_bins(flat, M, official=True) == []
    with pytest.warns(RuntimeWarning, match=r"Use depth=4"):
        adaptive_bins(flat, 16, official=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(adaptive_bins(flat, 64, official=True)) == 64
        assert len(adaptive_bins(flat, 48, official=True)) == 32, "int(48 / 32) = 1 of each bin"


@pytest.mark.parametrize("T", [33, 63, 65, 77])
def test_no_frame_is_lost_between_odd_bins(T):
    for at in range(T):
        scores = [0.0] * T
        scores[at] = 1.0
        assert at in adaptive_bins(scores, 32, t1=1.0)


def test_equal_scores_fall_back_to_the_middles_of_equal_parts():
    seq, relevance = scored([3.5] * 12)
    for M in (1, 2, 3, 5):
        assert torch.equal(AdaptiveBins(relevance)(seq, M).span, Uniform()(seq, M).span)
        assert adaptive_bins([0.25] * 12, M, official=True) == adaptive_bins([3.5] * 12, M)


def test_a_constant_added_or_a_scale_changes_nothing():
    scores = torch.randint(0, 256, (300,), generator=random()).double() / 256
    want = adaptive_bins(scores, 16)
    for other in (scores + 1024, scores - 3, scores * 512, scores / 4096, scores * 2 - 8):
        assert adaptive_bins(other, 16) == want


def test_of_equal_scores_the_earlier_is_kept_and_all_are_where_there_are_few():
    assert adaptive_bins([0, 1, 1, 1], 2, depth=0) == [1, 2]
    assert adaptive_bins([5, 1, 1], 3) == adaptive_bins([5, 1, 1], 9) == [0, 1, 2]
    assert adaptive_bins([5, 1, 1], 9, official=True) == [0, 1, 2]


def test_it_is_no_top_k_with_a_distance():
    scores = [0.0] * 64
    scores[20:24] = [1.0] * 4
    assert adaptive_bins(scores, 4) == [20, 21, 22, 23], "neighbours are kept where they stand out"


def test_the_contract_holds_for_tokens():
    check_compressor(AdaptiveBins(Cosine()), ragged(), query=QUERY, conserves_mass=False)


def test_the_contract_holds_for_frames():
    part = AdaptiveBins(Cosine())
    check_compressor(part, film(), query=QUERY[:2], budgets=(4, 7, 16, 47, 48, 10_000), conserves_mass=False)


def test_a_film_keeps_whole_frames_chosen_by_their_best_token():
    seq = film(T=40)
    scores = torch.rand(2, 160, generator=random(7))
    out = AdaptiveBins(lambda *_: scores)(seq, 35)
    for row in range(2):
        want = adaptive_bins(scores[row].reshape(40, 4).amax(1), 8)
        assert (out.span[row, ::4, 0] / 0.5).tolist() == want
    assert out.count.tolist() == [32, 32] and out.grid is None


def test_where_the_evidence_stands_out_the_choice_is_that_of_top_k():
    seq, relevance = scored([0.0] * 50 + [1.0, 0.9, 1.0, 0.95] + [0.01] * 46)
    assert torch.equal(AdaptiveBins(relevance)(seq, 4).span, TopK(relevance, unit="frame")(seq, 4).span)


def test_the_official_counts_may_leave_budget_unused():
    seq, relevance = scored(torch.rand(100, generator=random()))
    with pytest.warns(RuntimeWarning, match="0 come out"):
        assert len(AdaptiveBins(relevance, official=True)(seq, 16)) == 0
    assert len(AdaptiveBins(relevance)(seq, 16)) == 16


def test_padding_is_not_asked():
    seq = ragged()
    nan = torch.zeros(seq.mask.shape).masked_fill(~seq.mask, torch.nan)
    AdaptiveBins(lambda *_: nan)(seq, 5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: adaptive_bins([], 4), r"must be \(T,\), one for each frame, got \(0,\)"),
        (lambda: adaptive_bins([[1.0]], 4), r"got \(1, 1\)"),
        (lambda: adaptive_bins([1.0, float("nan"), 2.0], 1), "1 scores are NaN"),
        (lambda: adaptive_bins([1.0, float("inf")], 9), "NaN or infinite"),
        (lambda: adaptive_bins([1.0, 2.0], 0), "count must be a positive .* got 0"),
        (lambda: adaptive_bins([1.0, 2.0], 1.5), "an int"),
        (lambda: adaptive_bins([1.0, 2.0], 1, depth=-1), "at least 0"),
        (lambda: AdaptiveBins(Cosine(), t1=float("nan")), "t1 must be a number"),
        (lambda: AdaptiveBins(Cosine(), depth=2.0), "AdaptiveBins: depth"),
        (lambda: AdaptiveBins(Cosine())(film(), 8), "needs a query"),
        (lambda: AdaptiveBins(lambda seq, _: seq.mass[:, :3])(film(), 8), r"must give \(2, 48\) scores, got \(2, 3\)"),
        (lambda: AdaptiveBins(lambda seq, _: seq.mass * torch.nan)(film(), 8), "NaN"),
        (lambda: AdaptiveBins(Cosine())(film(), 3, QUERY[:2]), r"smallest possible budget is 4"),
    ],
)
def test_misuse_says_what_was_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_empty_sequence_stays_empty():
    none = film().take(torch.zeros(2, 48, dtype=torch.bool))
    assert len(AdaptiveBins(Cosine())(none, 3, QUERY[:2])) == 0
