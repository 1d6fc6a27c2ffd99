"""An index finds what a plain product and sort find; lists look at few vectors and still know each by its number."""

import pytest
import torch
from safetensors.torch import save_file

from seefar.memory import Inverted, VectorIndex, vector_index


def vectors(n, dim=6, seed=0):
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filled(n, dim=6, seed=0, **how):
    index = VectorIndex(dim, dtype=torch.float64, **how)
    index.add(vectors(n, dim, seed))
    return index


@pytest.mark.parametrize("at_once", [5, 64, 2**22])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (50, 7), (83, 83)])
def test_looking_at_all_is_a_product_and_a_sort(n, k, at_once, monkeypatch):
    monkeypatch.setattr(vector_index, "AT_ONCE", at_once)
    queries = vectors(4, seed=1)
    found, want = filled(n).search(queries, k), (queries @ vectors(n).mT).sort(1, descending=True)
    assert torch.equal(found.numbers_Qk, want.indices[:, :k])
    torch.testing.assert_close(found.scores_Qk, want.values[:, :k], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("room", [0, 10, 100])
def test_vectors_added_piece_by_piece_keep_their_numbers(room):
    index = VectorIndex(6, room=room, dtype=torch.float64)
    for piece in vectors(77).split(13):
        index.add(piece)
    numbers = torch.tensor([[76, 0], [5, 5]])
    assert len(index) == 77 and torch.equal(index.take(numbers), vectors(77)[numbers])
    with pytest.raises(ValueError, match="from 0 to 76, got 3 to 77"):
        index.take(torch.tensor([3, 77]))


def test_arrays_of_float32_are_taken_and_found():
    index, rows = VectorIndex(6), vectors(30).numpy()
    index.add(rows)
    found = index.search(rows[:3].astype("float32"), 2)
    assert found.scores_Qk.dtype == torch.float32
    assert torch.equal(found.numbers_Qk, torch.from_numpy(rows[:3] @ rows.T).topk(2).indices)


@pytest.mark.parametrize("probes", [1, 3, 8])
@pytest.mark.parametrize("strays", [0.0, 0.1, 1.0])
def test_with_lists_a_search_is_exact_among_lists_looked_into_and_what_is_far_from_any_centre(probes, strays):
    index, queries, k = filled(200, inverted=Inverted(8, probes, strays=strays)), vectors(5, seed=1), 4
    index.build()
    centres = index._centres
    far, group = torch.cdist(vectors(200), centres).min(1)
    looked = (queries @ centres.mT).topk(probes, 1).indices
    seen = (group == looked[..., None]).any(1)
    seen[:, far.topk(int(200 * strays)).indices] = True
    scores = (queries @ vectors(200).mT).masked_fill(~seen, -torch.inf)
    found, want = index.search(queries, k), scores.sort(1, descending=True)
    assert torch.equal(found.numbers_Qk, want.indices[:, :k])
    torch.testing.assert_close(found.scores_Qk, want.values[:, :k], rtol=1e-12, atol=1e-12)
    assert torch.equal(index.take(found.numbers_Qk[0]), vectors(200)[found.numbers_Qk[0]])


def test_more_lists_are_looked_into_where_few_vectors_are_in_them():
    index, queries = filled(40, inverted=Inverted(16, 1, strays=0.0)), vectors(3, seed=1)
    index.build()
    assert torch.equal(index.search(queries, 40).numbers_Qk, filled(40).search(queries, 40).numbers_Qk)


def test_what_is_added_after_building_is_found_and_sorted_in_later():
    index, all_ = filled(100, inverted=Inverted(10, 10)), torch.cat([vectors(100), vectors(30, seed=5)])
    index.build()
    index.add(vectors(30, seed=5))
    queries, want = vectors(4, seed=1), VectorIndex(6, dtype=torch.float64)
    want.add(all_)
    for built in (100, 130):
        assert index.built == built and len(index) == 130
        assert torch.equal(index.search(queries, 9).numbers_Qk, want.search(queries, 9).numbers_Qk)
        assert torch.equal(index.take(torch.arange(130)), all_)
        index.build()


def test_lists_of_clusters_find_nearly_all_in_a_tenth_of_them():
    centres = 4 * vectors(50, 16, seed=3)
    points = (centres[:, None] + vectors(2000, 16).view(50, 40, 16)).flatten(0, 1)
    index, flat = (VectorIndex(16, inverted=how) for how in (Inverted(50, 5), None))
    for each in (index, flat):
        each.add(points)
        each.build()
    queries = centres[:20] + vectors(20, 16, seed=4)
    got, want = (each.search(queries, 10).numbers_Qk for each in (index, flat))
    assert (got[..., None] == want[:, None]).any(-1).double().mean() >= 0.95


def test_saved_and_loaded_it_finds_the_same(tmp_path):
    index, queries = filled(60, inverted=Inverted(6, 2, strays=0.1)), vectors(4, seed=1)
    index.build()
    index.add(vectors(7, seed=2))
    index.save(tmp_path / "index")
    other = VectorIndex(6, inverted=Inverted(6, 2, strays=0.1), dtype=torch.float64)
    other.load(tmp_path / "index")
    assert torch.equal(other.take(torch.arange(67)), index.take(torch.arange(67)))
    for got, want in zip(other.search(queries, 5), index.search(queries, 5), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    other.add(vectors(3, seed=9))
    assert torch.equal(other.take(torch.tensor([69])), vectors(3, seed=9)[2:])
    with pytest.raises(ValueError, match="make the index with `inverted`"):
        VectorIndex(6).load(tmp_path / "index")
    with pytest.raises(ValueError, match="width 6, not 5"):
        VectorIndex(5, inverted=Inverted(6, 2, strays=0.1)).load(tmp_path / "index")
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="holds no VectorIndex"):
        index.load(tmp_path / "other")


def test_what_cannot_be_is_refused():
    index = filled(5)
    with pytest.raises(ValueError, match="holds 5 vectors, so k must be 1 to 5, got 6"):
        index.search(vectors(1), 6)
    with pytest.raises(ValueError, match=r"add takes vectors \(n, 6\), got \(3, 4\)"):
        index.add(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="search was given a vector that is NaN"):
        index.search(torch.full((1, 6), torch.nan), 1)
    with pytest.raises(ValueError, match="dim must be at least 1"):
        VectorIndex(0)
