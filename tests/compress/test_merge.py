"""SimilarityMerge with both of its matches, against plain loops and an example worked by hand."""

from itertools import pairwise

import pytest
import torch

from seefar.compress import Adjacent, Bipartite, SimilarityMerge
from seefar.sequence import VisualSequence
from seefar.testing import check_compressor


def film(T=12, H=2, W=2, D=6, B=2, seed=0):
    x = torch.randn(B, T, H, W, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return VisualSequence.of_grid(x, torch.arange(T) * 0.5)


def ragged(seed=0):
    """Rows of different length, of tokens of different mass."""
    random = torch.Generator().manual_seed(seed)
    seq = film(seed=seed, B=3)
    group = (torch.rand(3, 48, generator=random) * 40).long()
    return seq.merge(torch.where(torch.rand(3, 48, generator=random) < torch.tensor([[1.0], [0.7], [0.2]]), group, -1))


def packed():
    seq = ragged(1)
    segment = torch.where(seq.mask, (torch.arange(len(seq)) >= 3).long() + (torch.arange(len(seq)) >= 4).long(), -1)
    return VisualSequence(seq.tokens, seq.span, seq.box, seq.mass, segment, seq.mask)


MATCHES = [Bipartite(), Bipartite(share=0.1), Adjacent()]


@pytest.mark.parametrize("match", MATCHES, ids=["half", "tenth", "adjacent"])
def test_the_contract_holds(match):
    part = SimilarityMerge(match)
    check_compressor(part, ragged(), conserves_mass=True)
    check_compressor(part, packed(), budgets=(3, 4, 7, 16, 10_000), conserves_mass=True)
    check_compressor(part, film(), budgets=(4, 7, 16, 47, 48), conserves_mass=True)


def cosine(a, b):
    return (a @ b / a.norm() / b.norm()).item()


def plain_bipartite(tokens, masses, budget, share):
    """ToMe on one row by loops over lists; the place of a merged token is that of its earliest source."""
    rows = [(place, token, mass) for place, (token, mass) in enumerate(zip(tokens, masses, strict=True))]
    while len(rows) > budget:
        a, b = rows[::2], rows[1::2]
        edges = []
        for i, (_, token, _) in enumerate(a):
            likeness = [cosine(token, other) for _, other, _ in b]
            edges.append((max(likeness), i, likeness.index(max(likeness))))
        r = min(len(rows) - budget, max(1, int(len(rows) * share)))
        edges.sort(key=lambda edge: (-edge[0], edge[1]))
        joined = {i: j for _, i, j in edges[:r]}
        rows = [row for i, row in enumerate(a) if i not in joined]
        for j, (place, token, mass) in enumerate(b):
            members = [a[i] for i in joined if joined[i] == j]
            total = mass + sum(m for _, _, m in members)
            mean = (token * mass + sum(t * m for _, t, m in members)) / total
            rows.append((min([place] + [p for p, _, _ in members]), mean, total))
        rows.sort(key=lambda row: row[0])
    return torch.stack([token for _, token, _ in rows]), torch.stack([mass for _, _, mass in rows])


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("budget", [1, 5, 13])
def test_bipartite_equals_plain_loops(share, budget):
    x = torch.randn(2, 30, 1, 1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    seq = VisualSequence.of_grid(x, torch.arange(30))
    seq = seq.merge(torch.arange(30).expand(2, 30) // 2 + torch.arange(30) % 4 // 3)  # masses of 1, 2 and 3
    out = SimilarityMerge(Bipartite(share))(seq, budget)
    for row in range(2):
        tokens, masses = plain_bipartite(seq.tokens[row, seq.mask[row]], seq.mass[row, seq.mask[row]], budget, share)
        torch.testing.assert_close(out.tokens[row, out.mask[row]], tokens)
        torch.testing.assert_close(out.mass[row, out.mask[row]], masses)


def test_bipartite_worked_by_hand():
    # A = tokens 0, 2, 4 and B = tokens 1, 3. Token 2 is nearest to 3 (cosine 1), tokens 0 and 4 (0.8).
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 3.0], [0.0, 1.0], [-0.6, 0.8]])[None, :, None, None]
    seq = VisualSequence.of_grid(x, torch.arange(5))
    out = SimilarityMerge(Bipartite())(seq, 4)
    assert out.tokens[0].tolist() == [[1.0, 0.0], pytest.approx([0.8, 0.6]), [0.0, 2.0], pytest.approx([-0.6, 0.8])]
    assert out.mass[0].tolist() == [1, 1, 2, 1] and out.span[0, 2].tolist() == [2, 3]
    # To three: r = 2 in one round. Token 4 is as near to 3 as token 0 is to 1; the earlier pair goes first.
    out = SimilarityMerge(Bipartite())(seq, 3)
    assert out.mass[0].tolist() == [2, 2, 1]


def test_bipartite_in_slices_equals_bipartite_at_once(monkeypatch):
    seq = ragged()
    whole = Bipartite()(seq, 5)
    real, seen = torch.Tensor.__matmul__, []
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: (seen.append(a.shape[1]), real(a, b))[1])
    monkeypatch.setattr("seefar.compress.merge.PAIRS_AT_ONCE", 3 * len(seq) * 4)
    assert torch.equal(Bipartite()(seq, 5), whole) and max(seen) <= 4 and len(seen) > 3


def plain_adjacent(tokens, masses, films, left):
    """The most similar neighbours, again and again, looking at all of them each time."""
    rows = list(zip(tokens, masses, films, strict=True))
    while len(rows) > left:
        pairs = [cosine(a, b) if f == g else -9 for (a, _, f), (b, _, g) in pairwise(rows)]
        i = pairs.index(max(pairs))
        (a, m, f), (b, n, _) = rows[i : i + 2]
        rows[i : i + 2] = [((a * m + b * n) / (m + n), m + n, f)]
    return rows


@pytest.mark.parametrize("budget", [3, 4, 11])
def test_adjacent_along_the_order_equals_plain_loops(budget):
    for seq in (ragged(), packed()):
        out = SimilarityMerge(Adjacent())(seq, budget)
        for row in range(3):
            on = seq.mask[row]
            want = plain_adjacent(seq.tokens[row, on], seq.mass[row, on], seq.segment[row, on].tolist(), budget)
            torch.testing.assert_close(out.tokens[row, out.mask[row]], torch.stack([token for token, _, _ in want]))
            assert out.mass[row, out.mask[row]].tolist() == [mass.item() for _, mass, _ in want]


@pytest.mark.parametrize("budget", [4, 10, 21, 44])
def test_adjacent_on_a_raster_joins_each_place_by_itself(budget):
    seq = film(seed=7)
    out = SimilarityMerge(Adjacent())(seq, budget)
    assert out.count.tolist() == [budget // 4 * 4] * 2
    for row in range(2):
        for place in range(4):
            mine = (out.box[row] == seq.box[row, place]).all(-1)
            want = plain_adjacent(seq.tokens[row, place::4], seq.mass[row, place::4], [0] * 12, budget // 4)
            torch.testing.assert_close(out.tokens[row, mine], torch.stack([token for token, _, _ in want]))
            assert out.mass[row, mine].tolist() == [mass.item() for _, mass, _ in want]


def test_frame_by_frame_each_frame_is_merged_as_if_alone():
    part = SimilarityMerge(Bipartite(), weight="mean", scope="frame")
    seq = film(T=5, H=4, W=6, seed=2)
    check_compressor(part, seq, budgets=(5, 6, 31, 119, 120), conserves_mass=True)
    out = part(seq, 5 * 6 + 3)
    assert len(out) == 30 and out.span[0, ::6].tolist() == seq.span[0, ::24].tolist()
    for row in range(2):
        for frame in range(5):
            mine = VisualSequence.of_grid(
                seq.tokens[row, 24 * frame : 24 * frame + 24].reshape(1, 1, 4, 6, 6), seq.span[:1, :1, 0]
            )
            alone = SimilarityMerge(Bipartite(), weight="mean")(mine, 6)
            assert torch.equal(out.tokens[row, 6 * frame : 6 * frame + 6], alone.tokens[0])


def test_the_plain_mean_forgets_how_many_stand_behind_a_token():
    # To two: token 0 joins 1, token 2 joins 3. To one: the two means, of masses 2 and 3, count alike.
    x = torch.tensor([[4.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 4.0], [0.0, 6.0]])[None, :, None, None]
    seq = VisualSequence.of_grid(x, torch.arange(5))
    two = SimilarityMerge(Bipartite(), weight="mean")(seq.merge(torch.tensor([[0, 0, 1, 1, 1]])), 2)
    assert two.tokens[0].tolist() == [[3, 0], [0, 4]] and two.mass[0].tolist() == [2, 3]
    plain, heavy = (SimilarityMerge(Bipartite(), weight=weight)(two, 1) for weight in ("mean", "mass"))
    assert plain.tokens[0].tolist() == [[1.5, 2.0]] and plain.mass.tolist() == [[5]]
    torch.testing.assert_close(heavy.tokens[0], torch.tensor([[6 / 5, 12 / 5]]))


def test_an_hour_of_frames_is_joined_scene_by_scene():
    scenes = torch.randn(1, 40, 1, 1, 16, generator=torch.Generator().manual_seed(1)).repeat_interleave(90, 1)
    noisy = scenes + 0.05 * torch.randn(scenes.shape, generator=torch.Generator().manual_seed(2))
    out = SimilarityMerge(Adjacent())(VisualSequence.of_grid(noisy, torch.arange(3600)), 40)
    assert out.span[0].tolist() == [[90 * i, 90 * i + 89] for i in range(40)]


@pytest.mark.parametrize("match", [Bipartite(), Adjacent()])
def test_gradients_reach_every_source_by_its_share(match):
    x = torch.randn(1, 6, 1, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    part = SimilarityMerge(match)
    assert torch.autograd.gradcheck(lambda x: part(VisualSequence.of_grid(x, torch.arange(6)), 3).tokens, x)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SimilarityMerge(Adjacent())(film(), 3), "each of the 4 places .* smallest possible budget is 4"),
        (lambda: SimilarityMerge(Bipartite())(packed(), 2), "3 films, which 2 tokens cannot keep apart"),
        (lambda: SimilarityMerge(Bipartite())(film().map(lambda x: x / 0), 9), "NaN or infinite"),
        (lambda: SimilarityMerge(lambda seq, _: torch.arange(48).expand(2, 48))(film(), 9), "joined nothing"),
        (lambda: SimilarityMerge(Bipartite(), weight="sum"), "'mass' or 'mean', got 'sum'"),
        (lambda: SimilarityMerge(Bipartite(), scope="video"), "'row' or 'frame', got 'video'"),
        (lambda: SimilarityMerge(Bipartite(), scope="frame")(film(), 11), "12 frames; the smallest .* is 12"),
        (lambda: SimilarityMerge(Bipartite(), scope="frame")(ragged(), 20), "still are a raster"),
        (lambda: Bipartite(share=0.6), r"\(0, 0.5\], got 0.6"),
        (lambda: Bipartite(share=0), r"\(0, 0.5\], got 0"),
    ],
)
def test_misuse_says_what_was_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_zero_tokens_are_joined_without_nan():
    zeros = VisualSequence.of_grid(torch.zeros(1, 6, 1, 1, 3), torch.arange(6))
    for match in MATCHES:
        out = SimilarityMerge(match)(zeros, 2)
        assert out.count.tolist() == [2] and (out.tokens == 0).all() and out.mass.sum() == 6
