"""Uniform, TopK and Novelty: the contract, what each one alone promises, and refusals."""

from itertools import combinations, pairwise

import pytest
import torch

from seefar.compress import Cosine, Novelty, TopK, Uniform
from seefar.sequence import VisualSequence
from seefar.testing import check_compressor


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def film(T=12, H=2, W=2, D=6, B=2, seed=0):
    return VisualSequence.of_grid(torch.randn(B, T, H, W, D, generator=random(seed)), torch.arange(T) * 0.5)


def ragged(seed=0):
    seq = film(seed=seed, B=3)
    return seq.take(torch.rand(3, 48, generator=random(seed)) < torch.tensor([[0.9], [0.5], [0.1]]))


QUERY = torch.randn(3, 4, 6, generator=random(5))
PARTS = [Uniform(), TopK(Cosine()), Novelty(), TopK(Cosine(), unit="frame")]


@pytest.mark.parametrize("part", PARTS[:3], ids=repr)
def test_the_contract_holds_for_tokens(part):
    check_compressor(part, ragged(), query=QUERY, conserves_mass=False)


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_the_contract_holds_for_frames(part):
    check_compressor(part, film(), query=QUERY[:2], budgets=(4, 7, 16, 47, 48, 10_000), conserves_mass=False)


@pytest.mark.parametrize("part", [Uniform(), TopK(Cosine(), unit="frame"), Novelty()], ids=repr)
@pytest.mark.parametrize("budget", [4, 5, 19, 20])
def test_whole_frames_are_kept_and_as_many_as_the_budget_pays_for(part, budget):
    out = part(film(), budget, QUERY[:2])
    assert out.count.tolist() == [budget // 4 * 4] * 2
    frames = out.span[..., 0].reshape(2, -1, 4)
    assert (frames == frames[..., :1]).all(), "frames were torn apart"
    assert (out.box.reshape(2, -1, 4, 4) == out.box[:, None, :4]).all()


@pytest.mark.parametrize("part", [Uniform(), TopK(Cosine(), unit="frame"), Novelty()], ids=repr)
def test_a_budget_below_one_frame_names_the_smallest_possible(part):
    with pytest.raises(ValueError, match=r"budget of 3 .* 2 x 2; the smallest possible budget is 4"):
        part(film(), 3, QUERY[:2])


def test_uniform_keeps_the_middles_of_equal_parts():
    seq = film(T=12, H=1, W=1)
    for budget, want in {1: [6], 2: [3, 9], 3: [2, 6, 10], 4: [1, 4, 7, 10], 5: [1, 3, 6, 8, 10]}.items():
        assert (Uniform()(seq, budget).span[0, :, 0] / 0.5).tolist() == want
    assert Uniform()(seq, 12) is seq


def test_uniform_tokens_take_one_of_each_equal_part_and_visit_every_place():
    slots = film(T=41, H=2, W=2).take(torch.arange(160).expand(2, 160))  # no raster any more; parts of just one frame
    out = Uniform()(slots, 40)
    place = out.box[0, :, 0] * 4 + out.box[0, :, 1] * 2
    assert torch.bincount(place.long(), minlength=4).min() >= 6, "a fixed step of 4 would see one place alone"
    at = (slots.tokens[0, None] == out.tokens[0, :, None]).all(-1).nonzero()[:, 1]
    assert (at // 4).tolist() == list(range(40))


def test_top_k_keeps_the_highest_scores_in_time_order():
    seq = ragged()
    out = TopK(Cosine())(seq, 7, QUERY)
    for row in range(3):
        scores = Cosine()(seq, QUERY)[row, seq.mask[row]]
        best = scores.sort(descending=True).indices[:7].sort().values
        assert torch.equal(out.tokens[row, out.mask[row]], seq.tokens[row, best])


def test_of_equal_scores_the_earlier_is_kept():
    out = TopK(lambda seq, _: torch.zeros_like(seq.mass))(ragged(), 5)
    assert torch.equal(out.tokens, ragged().tokens[:, :5])


def test_a_frame_is_as_relevant_as_its_best_token():
    seq = film()
    scores = torch.zeros(2, 48)
    scores[0, 4 * 7 + 2], scores[1, 4 * 2 : 4 * 3] = 1.0, 0.9  # one token of frame 7; in row 1 all of frame 2
    scores[:, 4 * 9 : 4 * 11] = 0.5  # frames 9 and 10 have the higher mean
    out = TopK(lambda *_: scores, unit="frame")(seq, 8)
    assert (out.span[:, ::4, 0] / 0.5).tolist() == [[7, 9], [2, 9]]


def test_nan_scores_are_refused_and_padding_is_not_asked():
    seq = ragged()
    nan = torch.zeros(seq.mask.shape)
    nan[2, -1] = torch.nan
    assert not seq.mask[2, -1]
    TopK(lambda *_: nan)(seq, 5)
    nan[2, 0] = torch.nan
    with pytest.raises(ValueError, match="1 scores are NaN"):
        TopK(lambda *_: nan)(seq, 5)


def farthest_first(frames, K, least=1e-5):
    """Plain loops: the definition word by word, on (T, places, D)."""

    def d(a, b):
        return sum(1 - torch.cosine_similarity(x, y, dim=0).item() for x, y in zip(a, b, strict=True)) / len(a)

    kept = [0]
    while len(kept) < K:
        nearest = [min(d(f, frames[k]) for k in kept) if t not in kept else -1 for t, f in enumerate(frames)]
        if max(nearest) <= least:
            break
        kept.append(nearest.index(max(nearest)))
    return sorted(kept)


@pytest.mark.parametrize("seed", range(3))
def test_novelty_equals_its_definition_as_plain_loops(seed):
    seq = film(seed=seed)
    out = Novelty()(seq, 20)
    for row in range(2):
        want = farthest_first(seq.tokens[row].reshape(12, 4, 6), 5)
        assert (out.span[row, ::4, 0] / 0.5).tolist() == want
    tokens = ragged(seed)
    out = Novelty()(tokens, 6)
    for row in range(3):
        mine = tokens.tokens[row, tokens.mask[row]]
        assert torch.equal(out.tokens[row, out.mask[row]], mine[farthest_first(mine[:, None], 6)])


def test_a_still_picture_is_paid_for_once_and_a_flash_is_kept():
    x = torch.randn(1, 1, 2, 2, 64, generator=random()).expand(1, 300, 2, 2, 64).clone()
    x[:, 150:] = torch.randn(1, 1, 2, 2, 64, generator=random(1))  # a cut
    x[:, 77, 0, 1] *= -1  # a flash in one corner, for one frame
    x[:, 200] = x[:, 3]  # the first scene again: nothing new
    x *= torch.linspace(1, 2, 300)[:, None, None, None]  # a fade of brightness
    assert Novelty()(VisualSequence.of_grid(x, torch.arange(300)), 4096).span[0, ::4, 0].tolist() == [0, 77, 150]
    noisy = x + 0.01 * torch.randn(x.shape, generator=random(2))
    assert Novelty(least=0.01)(VisualSequence.of_grid(noisy, torch.arange(300)), 4096).grid is None
    assert len(Novelty(least=0.01)(VisualSequence.of_grid(noisy, torch.arange(300)), 4096)) == 3 * 4
    assert len(Novelty()(VisualSequence.of_grid(noisy, torch.arange(300)), 400)) == 400


def test_a_smaller_budget_keeps_a_subset():
    kept = [set(Novelty()(film(T=20), 4 * k).span[0, :, 0].tolist()) for k in range(1, 21)]
    assert all(a < b for a, b in pairwise(kept))


def test_no_other_choice_is_more_than_twice_as_good():
    frames = film(T=10, H=1, W=1, D=3, B=1, seed=4)
    unit = torch.nn.functional.normalize(frames.tokens[0].double(), dim=-1)
    distance = torch.cdist(unit, unit)
    for K in (2, 3, 4):
        mine = (Novelty()(frames, K).span[0, :, 0] / 0.5).long()
        radius = distance[:, mine].amin(1).max()
        best = min(distance[:, list(some)].amin(1).max() for some in combinations(range(10), K))
        assert radius <= 2 * best + 1e-9


def test_gradients_flow_through_what_is_kept():
    x = torch.randn(1, 6, 1, 1, 4, generator=random(), requires_grad=True)
    out = TopK(Cosine())(VisualSequence.of_grid(x, torch.arange(6)), 2, torch.randn(1, 4, generator=random(1)))
    out.tokens.sum().backward()
    assert (x.grad.flatten(0, 3).abs().sum(-1) > 0).sum() == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TopK(Cosine(), unit="scene"), "'token' or 'frame', got 'scene'"),
        (lambda: TopK(Cosine(), unit="frame")(ragged(), 8, QUERY), "still are a raster"),
        (lambda: TopK(lambda seq, _: seq.mass[:, :3])(film(), 8), r"must give \(2, 48\) scores, got \(2, 3\)"),
        (lambda: TopK(Cosine())(film(), 8), "needs a query"),
        (lambda: Novelty(least=-1), "at least 0, got -1"),
        (lambda: Novelty(least=float("nan")), "at least 0"),
        (lambda: Novelty()(film().map(lambda x: x / 0), 8), "NaN or infinite"),
    ],
)
def test_misuse_says_what_was_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_empty_sequence_stays_empty():
    none = film().take(torch.zeros(2, 48, dtype=torch.bool))
    for part in PARTS[:3]:
        assert len(part(none, 3, QUERY[:2])) == 0
