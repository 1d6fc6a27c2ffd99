"""The memory bank, against a plain quadratic loop."""

from itertools import pairwise

import pytest
import torch

from seefar.compress import Cosine, SimilarityMerge, TopK, Uniform
from seefar.compress.merge import Adjacent
from seefar.memory import AdjacentMerge, Bank, Fifo
from seefar.sequence import VisualSequence
from seefar.testing import check_memory


def film(T=20, H=1, W=3, D=5, B=2, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, H, W, D, dtype=torch.float64, generator=random).to(dtype)
    seconds = torch.rand(B, T, generator=random).cumsum(1).double()
    return VisualSequence.of_grid(x, torch.stack([seconds, seconds + 0.01], -1))


def pieces(seq, sizes):
    """The film in pieces of so many frames."""
    start, size = 0, seq.grid[1] * seq.grid[2]
    T = seq.grid[0]
    frames = torch.arange(len(seq)) // size
    for n in sizes:
        piece = seq.take(((frames >= start) & (frames < start + n)).expand_as(seq.mask))
        yield VisualSequence(**{**piece.__dict__, "grid": (min(n, T - start), *seq.grid[1:])})
        start += n


def plain_bank(seq, slots, entries):
    """One row after another, one slot after another, all pairs looked at anew for each frame; -> sorted tuples."""
    rows = []
    for row in range(len(seq.mask)):
        held = []
        for slot in range(slots):
            bank = []
            for n in range(slot, len(seq), slots):
                bank.append([seq.tokens[row, n], 1.0, *seq.span[row, n].tolist()])
                if len(bank) > entries:
                    near = [torch.cosine_similarity(a[0], b[0], dim=0).item() for a, b in pairwise(bank)]
                    i = near.index(max(near))
                    a, b = bank[i], bank[i + 1]
                    mean = (a[0] * a[1] + b[0] * b[1]) / (a[1] + b[1])
                    bank[i : i + 2] = [[mean, a[1] + b[1], min(a[2], b[2]), max(a[3], b[3])]]
            held += [(start, m, slot, end, mass, token) for m, (token, mass, start, end) in enumerate(bank)]
        rows.append(sorted(held, key=lambda entry: entry[:3]))
    return rows


@pytest.mark.parametrize("entries", [1, 2, 7, 19])
@pytest.mark.parametrize("sizes", [[20], [1] * 20, [3, 9, 8]])
def test_the_bank_equals_a_plain_loop_however_the_film_is_cut(entries, sizes):
    seq, bank = film(), Bank(entries * 3, 3)
    for piece in pieces(seq, sizes):
        bank.write(piece)
    out = bank.read(10_000)
    for row, want in enumerate(plain_bank(seq, 3, entries)):
        assert out.count[row] == len(want) == entries * 3
        for n, (start, _, slot, end, mass, token) in enumerate(want):
            assert out.span[row, n].tolist() == [start, end] and out.mass[row, n] == mass
            assert torch.equal(out.box[row, n], seq.box[row, slot])
            torch.testing.assert_close(out.tokens[row, n], token)


def test_until_it_is_full_it_holds_every_frame_exactly():
    seq, bank = film(dtype=torch.float32), Bank(60, 3)
    for piece in pieces(seq, [5, 15]):
        bank.write(piece)
    out = bank.read(60)
    assert out.grid == seq.grid and bank.seen == bank.entries == 20
    for name in ("tokens", "span", "box", "mass", "segment", "mask"):
        assert torch.equal(getattr(out, name), getattr(seq, name)), name


def test_slots_choose_by_themselves_and_mass_counts_the_frames_of_each():
    x = torch.randn(1, 4, 1, 2, 8, generator=torch.Generator().manual_seed(0))
    x[:, 1, 0, 0] = x[:, 0, 0, 0]  # slot 0 is still at first, slot 1 at last
    x[:, 3, 0, 1] = x[:, 2, 0, 1]
    bank = Bank(6, 2)
    bank.write(VisualSequence.of_grid(x, torch.arange(4)))
    out = bank.read(6)
    left, right = out.box[0, :, 1] == 0, out.box[0, :, 1] == 0.5
    assert out.span[0, left].tolist() == [[0, 1], [2, 2], [3, 3]] and out.mass[0, left].tolist() == [2, 1, 1]
    assert out.span[0, right].tolist() == [[0, 0], [1, 1], [2, 3]] and out.mass[0, right].tolist() == [1, 1, 2]
    assert out.grid is None


def test_an_entry_that_is_joined_with_none_stays_bit_for_bit():
    seq, bank = film(dtype=torch.float32, T=30), Bank(24, 3)
    bank.write(seq)
    out = bank.read(24)
    alone = out.mass == 1
    assert alone.any() and (out.mass > 1).any()
    for row in range(2):
        for token in out.tokens[row, alone[row]]:
            assert (seq.tokens[row] == token).all(-1).any()


def test_fifo_holds_the_last_frames_and_shows_the_mass_it_lost():
    seq, bank = film(), Bank(12, 3, reduce=Fifo())
    for piece in pieces(seq, [7, 7, 6]):
        bank.write(piece)
    out = bank.read(12)
    assert torch.equal(out.tokens, seq.tokens[:, -12:]) and torch.equal(out.span, seq.span[:, -12:])
    assert out.grid == (4, 1, 3) and out.mass.sum().item() == 24


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_of_a_long_still_stretch_is_its_mean(dtype):
    x = (1 + 0.5 * torch.randn(1, 3000, 1, 1, 4, generator=torch.Generator().manual_seed(0))).to(dtype)
    bank = Bank(1, 1)
    bank.write(VisualSequence.of_grid(x, torch.arange(3000)))
    out = bank.read(1)
    assert out.tokens.dtype == dtype and out.mass.item() == 3000 and out.span.tolist() == [[[0, 2999]]]
    torch.testing.assert_close(out.tokens[0, 0].double(), x.double().mean((0, 1, 2, 3)), rtol=2**-8, atol=0)


@pytest.mark.parametrize(
    ("reduce", "reader"),
    [
        (AdjacentMerge(), None),
        (AdjacentMerge(), Uniform()),
        (AdjacentMerge(), SimilarityMerge(Adjacent())),
        (AdjacentMerge(), TopK(Cosine())),
        (Fifo(), None),
        (Fifo(), TopK(Cosine())),
    ],
)
def test_the_contract_holds(reduce, reader, tmp_path):
    stream = list(pieces(film(T=23, H=2, W=2), [1, 4, 9, 2, 7]))
    query = torch.randn(2, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    check_memory(lambda: Bank(24, 4, reduce, reader), stream, tmp_path, query=query)


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 6, 8, 20])
def test_a_small_read_keeps_all_time_and_all_mass(budget):
    bank = Bank(21, 3)
    bank.write(film())
    out = bank.read(budget)
    assert out.count.tolist() == [budget if budget < 3 else budget // 3 * 3] * 2
    assert out.mass.sum(1).tolist() == [60, 60]
    assert torch.equal(out.span[..., 0].amin(1), film().span[..., 0].amin(1))
    assert torch.equal(out.span[..., 1].amax(1), film().span[..., 1].amax(1))


def test_a_reader_that_was_passed_in_gets_the_whole_bank_and_the_query():
    seen = []
    bank = Bank(
        9, 3, read_with=lambda seq, budget, query: (seen.append((len(seq), budget, query)), Uniform()(seq, 1))[1]
    )
    bank.write(film())
    bank.read(9, query="words")
    assert not seen
    bank.read(8, query="words")
    assert seen == [(9, 8, "words")]


def test_frames_without_a_raster_are_runs_of_one_span():
    seq, bank = film(), Bank(60, 3)
    bank.write(VisualSequence(**{**seq.__dict__, "grid": None}))
    assert torch.equal(bank.read(60).tokens, seq.tokens)
    with pytest.raises(ValueError, match="each run of 3 tokens must be one frame"):
        Bank(60, 3).write(seq.take(torch.arange(1, 58).expand(2, 57)))


def test_memory_stays_flat_and_holds_no_graph():
    bank, x = Bank(12, 3), film(T=40)
    bank.write(x.map(lambda tokens: tokens.requires_grad_()))
    assert not bank.read(12).tokens.requires_grad
    sizes = {sum(t.untyped_storage().nbytes() for t in bank._store)}
    later = film(T=400)
    for piece in pieces(VisualSequence(**{**later.__dict__, "span": later.span + 1000}), [50] * 8):
        bank.write(piece)
        sizes.add(sum(t.untyped_storage().nbytes() for t in bank._store))
    assert max(sizes) <= 2 * 12 * (8 * 5 + 4 + 16 + 16) * 14 / 12 * 2, "no more than the entries and one to spare"


def test_save_and_load_at_any_moment_go_on_bit_for_bit(tmp_path):
    for at in (0, 3, 20):
        a, b = Bank(15, 3), Bank(15, 3)
        first, last = [p for p in pieces(film(dtype=torch.float32), [at, 20 - at])] if 0 < at < 20 else (film(), None)
        if at:
            a.write(first)
        a.save(tmp_path / "bank")
        b.load(tmp_path / "bank")
        assert a.seen == b.seen == at
        if last is not None:
            a.write(last), b.write(last)
            for name in ("tokens", "span", "box", "mass", "segment"):
                assert torch.equal(getattr(a.read(15), name), getattr(b.read(15), name))
        if at:
            with pytest.raises(ValueError, match="goes backwards"):
                b.write(first)


def test_a_file_of_another_kind_is_refused(tmp_path):
    Bank(15, 3).save(tmp_path / "bank")
    for other in (Bank(18, 3), Bank(15, 5), Bank(15, 3, Fifo())):
        with pytest.raises(ValueError, match=r"was saved with (capacity=15|slots=3|reduce=AdjacentMerge)"):
            other.load(tmp_path / "bank")
    (tmp_path / "text").write_text("not tensors at all")
    with pytest.raises(ValueError, match="no safetensors file"):
        Bank(15, 3).load(tmp_path / "text")


def packed(seq):
    return VisualSequence(**{**seq.__dict__, "segment": (torch.arange(60) >= 30).long().expand(2, 60)})


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (film(), r"time goes backwards, from \d+\.\d{3} s to 0\.\d{3} s; call reset\(\)"),
        (film(T=3, W=2), r"frames must have slots=3 tokens, got a raster \(3, 1, 2\)"),
        (film(D=4), r"holds \(batch, width, dtype\) \(2, 5, torch.float64\), got \(2, 4"),
        (film(B=1), r"got \(1, 5"),
        (film(dtype=torch.float32), "got .*float32"),
        (film().map(lambda x: x / 0), "NaN or infinite"),
        (packed(film()), "several films"),
        (VisualSequence(**{**film().__dict__, "segment": torch.ones(2, 60, dtype=torch.int64)}), "another film"),
        (film().take(torch.arange(60) < torch.tensor([[60], [57]])), "unequal length"),
    ],
)
def test_a_refused_piece_changes_nothing(piece, words):
    bank = Bank(15, 3)
    bank.write(film())
    before = bank.read(15)
    with pytest.raises(ValueError, match=words):
        bank.write(piece)
    assert torch.equal(bank.read(15).tokens, before.tokens) and bank.seen == 20
    bank.reset()
    with pytest.raises(ValueError, match="nothing was written"):
        bank.read(15)


def test_time_may_stand_still_but_not_fall_inside_a_piece():
    seq, bank = film(T=2), Bank(15, 3)
    bank.write(VisualSequence(**{**seq.__dict__, "span": torch.ones_like(seq.span)}))
    with pytest.raises(ValueError, match="goes backwards"):
        bank.write(VisualSequence(**{**seq.__dict__, "span": seq.span.flip(1) + 10}))


@pytest.mark.parametrize(
    ("capacity", "slots", "words"),
    [(0, 3, "take 3"), (16, 3, "take 15"), (2, 3, "take 3"), (12, 0, "positive multiple"), (-3, 3, "take 3")],
)
def test_sizes_that_do_not_fit_are_refused_with_one_that_does(capacity, slots, words):
    with pytest.raises(ValueError, match=words):
        Bank(capacity, slots)


@pytest.mark.parametrize("budget", [0, -1, 2.5, True])
def test_a_budget_is_a_positive_int(budget):
    bank = Bank(15, 3)
    bank.write(film())
    with pytest.raises(ValueError, match="budget"):
        bank.read(budget)
