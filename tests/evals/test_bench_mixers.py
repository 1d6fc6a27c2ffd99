"""The bench of mixers: every layer goes through it, what it prints, refusals."""

import pytest

from seefar.evals.bench_mixers import LAYERS, PICTURES, UNTRAINED, draw, run, table

FEW = ("Attention", "Mamba", "Hyena", "Hyena, distilled")
TOY = {"seeds": 1, "steps": 1, "pairs": (2, 4), "lengths": (64, 128), "ages": (32, 64), "far": 96}


@pytest.fixture(scope="module")
def result():
    return run(only=FEW, **TOY)


def test_every_mixer_is_measured_in_every_way(result):
    for curves in PICTURES.values():
        assert set(FEW) - set(result[curves]) == (set(UNTRAINED) if curves.startswith("recall") else set())
    held = result["KB held by tokens read"]
    assert held["Attention"]["64"] > 1.9 * held["Attention"]["32"]
    assert held["Mamba"]["64"] == held["Mamba"]["32"]
    endless = result["milliseconds of the next token, state that does not grow"]
    assert set(endless) == {"Mamba", "Hyena, distilled"} and list(endless["Mamba"]) == ["32", "96"]
    assert len(result["bars"]) == 4
    assert held["Hyena, distilled"]["64"] == held["Hyena, distilled"]["32"] < held["Hyena"]["64"]


@pytest.mark.slow
def test_every_layer_goes_through_it():
    assert set(run(**TOY)["KB held by tokens read"]) == set(LAYERS)


def test_the_table_has_a_row_for_each_and_the_pictures_are_drawn(result, tmp_path):
    lines = table(result).splitlines()
    lines = lines[: lines.index("")]
    assert len(lines) == 2 + len(FEW) and len({line.count("|") for line in lines}) == 1
    for file in draw(result, tmp_path):
        assert file.read_text().count("Mamba") >= 1


def test_what_was_learnt_is_not_learnt_again(tmp_path, monkeypatch):
    first = run(only=("LSTM",), folder=tmp_path, **TOY)
    monkeypatch.setattr("seefar.evals.bench_mixers.fit", None)
    again = run(only=("LSTM",), folder=tmp_path, **TOY)
    assert again["recall, share of questions by pairs told"] == first["recall, share of questions by pairs told"]


def test_an_unknown_mixer_is_named():
    with pytest.raises(ValueError, match="no mixer 'Mamba 7', there are Attention"):
        run(only=("Mamba 7",))
