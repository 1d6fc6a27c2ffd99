"""The list of papers is whole, cards and verdicts keep their rules, and results know when they are stale."""

import json
import types

import pytest

from seefar.papers import _results
from seefar.papers._card import KINDS, Paper, Scale, Seed, Verdict, built, find, load, seeds
from seefar.papers._parts import HOUSE, Part, _bare, _imported, fingerprint, parts


def test_the_list_holds_196_papers_each_once():
    assert [seed.number for seed in seeds()] == list(range(1, 197))
    assert len({seed.file for seed in seeds()}) == 196
    assert {seed.kind for seed in seeds()} <= set(KINDS)
    assert all(seed.title and seed.room and seed.arxiv for seed in seeds())


def test_cards_agree_with_the_list():
    for paper in built():
        assert (paper.card.number, paper.card.arxiv) == (paper.seed.number, paper.seed.arxiv), paper.seed.slug


def test_a_paper_is_found_by_either_spelling_and_a_wrong_name_says_which_was_meant():
    assert find("flash-attention") is find("flash_attention")
    with pytest.raises(ValueError, match="did you mean malmm"):
        find("malm")
    with pytest.raises(ValueError, match="see: seefar paper list"):
        find("zzzzzz")


def test_a_paper_that_is_not_built_says_so():
    missing = next(seed for seed in seeds() if not seed.built)
    with pytest.raises(ValueError, match="not built yet"):
        load(missing.slug)


@pytest.mark.parametrize(
    ("checks", "controls", "state"),
    [
        ({"a": True, "b": True}, {"c": True}, "holds"),
        ({"a": True, "b": False}, {"c": True}, "partly"),
        ({"a": False}, {"c": True}, "fails"),
        ({"a": True}, {"c": False}, "fails"),
    ],
)
def test_a_verdict_needs_its_bars_and_a_control_that_falls_short(checks, controls, state):
    assert Verdict({}, checks, controls).state == state


def test_an_experiment_without_a_control_is_refused():
    with pytest.raises(ValueError, match="control arm"):
        Verdict({}, {"a": True}, {})
    with pytest.raises(ValueError, match="smoke, cpu, gpu"):
        Scale("huge")
    with pytest.raises(ValueError, match="one seed"):
        Scale("cpu", ())


def test_parts_are_traced_through_reexports_to_their_files(tmp_path):
    file = tmp_path / "paper.py"
    file.write_text("from seefar.mixers import Mamba\nfrom seefar.ops.linear_scan import linear_scan\n")
    assert parts(file) == [Part("mixers/selective.py", "Mamba"), Part("ops/linear_scan/__init__.py", "linear_scan")]


def test_a_fingerprint_moves_with_code_and_not_with_words(monkeypatch):
    file = HOUSE / "positions" / "rope.py"
    before, text = fingerprint(file), file.read_text()
    _bare.cache_clear()
    real = type(file).read_text

    def changed(replacement):
        def read(self, *args, **kwargs):
            return replacement if self == file else real(self, *args, **kwargs)

        _bare.cache_clear()
        _imported.cache_clear()
        monkeypatch.setattr(type(file), "read_text", read)
        return fingerprint(file)

    assert changed(text.replace('"""Rotary', '"""Some rotary') + "\n# a remark\n") == before
    assert changed(text + "\nEXTRA = 1\n") != before
    _bare.cache_clear()
    _imported.cache_clear()


def test_a_fingerprint_moves_with_the_weights_that_code_names(monkeypatch):
    eyes, rope = HOUSE / "vlm" / "eyes.py", HOUSE / "positions" / "rope.py"
    before = fingerprint(eyes), fingerprint(rope)
    monkeypatch.setattr(type(eyes), "read_bytes", lambda self: b"retrained")
    assert fingerprint(eyes) != before[0] and fingerprint(rope) == before[1]


@pytest.fixture
def paper(monkeypatch):
    """A paper that measures nothing much, in the place of a built one."""
    seed = Seed(999, "sample", "system", "ops", "A sample", "0000.00000", "A")
    card = types.SimpleNamespace(number=999, title="A sample", published="1", holds_when="x", control="y")
    module = types.ModuleType("seefar.papers.sample", "A sample: measures nothing.")
    module.__file__ = str(HOUSE / "positions" / "rope.py")
    module.CARD, module.claim = card, lambda scale: Verdict({"n": len(scale.seeds)}, {"bar": True}, {"control": True})
    made = Paper(seed, card, module)
    monkeypatch.setattr(_results, "load", lambda slug: made)
    monkeypatch.setattr(Seed, "built", property(lambda self: True))
    return made


def test_a_claim_writes_its_result_and_code_that_moves_makes_it_stale(paper, tmp_path, monkeypatch):
    result = _results.run_claim("sample", "cpu", results=tmp_path, trials=tmp_path / "trials")
    assert json.loads((tmp_path / "sample.json").read_text()) == result
    assert result["verdict"] == "holds" and result["seeds"] == [0, 1, 2] and result["figures"] == {"n": 3}
    assert str(_results.state(paper.seed, tmp_path)) == "holds"
    monkeypatch.setattr(_results, "fingerprint", lambda path: "moved")
    assert str(_results.state(paper.seed, tmp_path)) == "holds (stale)"


def test_a_smoke_run_is_no_evidence(paper, tmp_path):
    assert _results.state(paper.seed, tmp_path).word == "not run"
    result = _results.run_claim("sample", "smoke", results=tmp_path, trials=tmp_path / "trials")
    assert result["seeds"] == [0]
    assert _results.state(paper.seed, tmp_path).word == "not run"
