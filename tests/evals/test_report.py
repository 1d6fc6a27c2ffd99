"""Pictures and tables of results: what is drawn, where, and that the same figures give the same bytes."""

import xml.etree.ElementTree as ET

import pytest

from seefar.evals.report import _apart, draw_curves, draw_heat, drawable, is_curves, table

HALF = {"mean": 0.5, "low": 0.4, "high": 0.6, "values": [0.5]}
CURVES = {"ours": {str(n): {**HALF, "mean": n / 100} for n in (8, 16, 64)}, "theirs": {"8": HALF, "none": HALF}}


def test_curves_become_tables_and_other_figures_lines():
    assert table({"ours": {"8": HALF}})[-1] == "| ours | 0.5 (0.4 to 0.6) |"
    assert table({"ratio": 3}) == [str({"ratio": 3})] and table(0.5) == ["0.5"]


def test_only_three_numbered_points_are_worth_a_picture():
    assert drawable(CURVES) and not drawable({"ours": {"8": HALF, "16": HALF, "all": HALF}})
    assert is_curves({"ours": {"all": HALF}}) and not is_curves({"ours": 3}) and not is_curves({})


def test_a_picture_names_its_arms_and_is_the_same_each_time(tmp_path):
    draw_curves({**CURVES, "third": CURVES["ours"]}, tmp_path / "a.svg", title="accuracy")
    draw_curves({**CURVES, "third": CURVES["ours"]}, tmp_path / "b.svg", title="accuracy")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    said = [text.text for text in ET.parse(tmp_path / "a.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert {"accuracy", "ours", "third", "64"} <= set(said) and "theirs" not in said  # one point is no line


def test_names_at_the_lines_ends_keep_apart_in_their_order():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.set_ylim(0, 1)
    low, high, same = _apart(axes, [0.2, 0.9, 0.2])
    assert low == pytest.approx(0.2) and same >= low + 0.08 and high == pytest.approx(0.9)
    top = _apart(axes, [1.0, 1.0, 1.0])
    assert max(top) <= 1 + 1e-9 and len({round(place, 3) for place in top}) == 3
    plt.close(figure)


def test_heat_has_a_cell_for_each_pair_and_says_its_share(tmp_path):
    cells = {(100.0, 0.0): 1.0, (200.0, 0.0): 0.25, (100.0, 0.5): 0.5}
    draw_heat({"ours": cells}, tmp_path / "heat.svg", title="found", across="frames", down="depth")
    said = [text.text for text in ET.parse(tmp_path / "heat.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert {"100", "25", "50", "200", "0 %", "50 %", "frames", "depth", "found", "ours"} <= set(said)
