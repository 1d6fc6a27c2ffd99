"""The published files are read as they are, and prompts are those of the harnesses, to the letter.

Rows of frames and lines were worked out by hand; on 5,000 random cases they equalled the functions of both harnesses.
"""

import json
import sys

import pytest

from seefar.evals.formats.longvideobench import (
    Item,
    Line,
    as_text,
    frame_indices,
    frame_times,
    interleave,
    load,
    prompt,
    subtitles,
)

ROW = {
    "video_id": "v",
    "question": "What is red?",
    "candidates": ["a ball", "a hat"],
    "correct_choice": 1,
    "position": [10],
    "question_category": "T2O",
    "id": "v_0",
    "video_path": "v.mp4",
    "subtitle_path": "v_en.json",
    "duration_group": 15,
    "starting_timestamp_for_subtitles": 30.5,
    "duration": 12.0,
}
WANT = Item("v_0", "v.mp4", "What is red?", ("a ball", "a hat"), "B", 15, "T2O", 12.0, 30.5, "v_en.json")


def written(folder, row, name="lvb_val.json"):
    (folder / name).write_text(json.dumps([row]))
    return folder


def same(item):
    assert {**vars(item), "meta": {}} == {**vars(WANT), "meta": {}}


def test_the_published_json_is_read_and_unknown_columns_are_kept(tmp_path):
    (item,) = load(written(tmp_path, ROW))
    same(item)
    assert item.meta == {"video_id": "v", "position": [10]}


def test_five_option_columns_say_the_same_as_a_list(tmp_path):
    columns = {f"option{i}": text for i, text in enumerate(["a ball", "a hat", "N/A", "N/A", "N/A"])}
    (item,) = load(written(tmp_path, {k: v for k, v in ROW.items() if k != "candidates"} | columns))
    same(item)


def test_the_table_that_vlmevalkit_makes_says_the_same(tmp_path):
    row = ROW | {"candidates": "['a ball', 'a hat']", "video_path": "./videos/v.mp4"}
    path = tmp_path / "LongVideoBench.tsv"
    path.write_text("\t".join(row) + "\n" + "\t".join(map(str, row.values())) + "\n")
    (item,) = load(tmp_path)
    same(item)


def test_parquet_says_the_same(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    columns = {f"option{i}": text for i, text in enumerate(["a ball", "a hat", "N/A", "N/A", "N/A"])}
    row = {k: v for k, v in ROW.items() if k != "candidates"} | columns
    (tmp_path / "data").mkdir()
    write_table(pa.Table.from_pylist([row]), tmp_path / "data" / "validation-00000-of-00001.parquet")
    (item,) = load(tmp_path)
    same(item)


def test_the_test_split_has_no_key(tmp_path):
    (item,) = load(
        written(tmp_path, {k: v for k, v in ROW.items() if k != "correct_choice"}, "lvb_test_wo_gt.json"), "test"
    )
    assert item.answer is None
    (item,) = load(written(tmp_path, ROW | {"correct_choice": -1}))
    assert item.answer is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"correct_choice": 2}, "names none of its 2 options"),
        ({"candidates": "a ball"}, "candidates must be a list"),
        ({"candidates": ["one"]}, "has 1 options"),
        ({"candidates": list("abcdef")}, "has 6 options"),
        ({"duration_group": 30}, "duration_group 30"),
        ({"question_category": "XYZ"}, "'XYZ'"),
    ],
)
def test_a_question_that_contradicts_itself_is_refused_by_name(tmp_path, change, complaint):
    with pytest.raises(ValueError, match=complaint) as error:
        load(written(tmp_path, ROW | change))
    assert "v_0" in str(error.value)


def test_two_questions_of_one_id_are_refused(tmp_path):
    (tmp_path / "lvb_val.json").write_text(json.dumps([ROW, ROW]))
    with pytest.raises(ValueError, match="1 questions have the id of another"):
        load(tmp_path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lvb_val\.json"):
        load(tmp_path)
    with pytest.raises(ValueError, match="validation, test"):
        load(tmp_path, "train")
    with pytest.raises(ValueError, match="lacks the column candidates"):
        load(written(tmp_path, {k: v for k, v in ROW.items() if k != "candidates"}))
    with pytest.raises(FileNotFoundError, match=r"unpack subtitles\.tar"):
        subtitles(tmp_path, WANT)


def test_parquet_without_a_reader_says_what_to_install(tmp_path, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "validation-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match="pip install pyarrow"):
        load(tmp_path)


def test_both_layouts_of_subtitles_are_read_and_only_a_decimal_end_is_an_end(tmp_path):
    (tmp_path / "subtitles").mkdir()
    records = [
        {"start": "00:01:02.500", "end": "1:00:03", "line": "hello"},
        {"timestamp": [1, 2.5], "text": "there"},
        {"timestamp": [3.0, None], "text": "open"},
        {"timestamp": [3.0, 4], "text": "whole"},
    ]
    (tmp_path / "subtitles" / "v_en.json").write_text(json.dumps(records))
    lines = subtitles(tmp_path, WANT)
    assert lines[:2] == [Line(62.5, 3603.0, "hello"), Line(1.0, 2.5, "there")]
    assert [line.end for line in lines[2:]] == [None, None]


def test_the_frames_of_each_harness_are_its_own():
    assert frame_indices("lmms-eval", 7, duration=1000, fps=1) == [0, 142, 284, 426, 568, 710, 852]
    assert frame_indices("vlmevalkit", 7, duration=1000, fps=1, frames=1000) == [125, 250, 375, 500, 625, 750, 875]
    assert frame_indices("lmms-eval", 16, duration=3.9, fps=30) == [0, 39, 78]


def test_lmms_eval_lays_lines_between_other_times_than_those_of_its_frames():
    assert frame_times("lmms-eval", 4, duration=10.0) == [0, 2.5, 5.0, 7.5]
    assert frame_times("lmms-eval", 16, duration=3.9) == [0, 1, 2]
    indices = frame_indices("lmms-eval", 4, duration=10.0, fps=1)
    assert indices == [0, 2, 4, 6]
    assert frame_times("vlmevalkit", 3, duration=0, fps=2.0, frames=16) == [2.0, 4.0, 6.0]


def test_samplings_that_cannot_be_had_say_so():
    with pytest.raises(ValueError, match="gives none"):
        frame_indices("lmms-eval", 4, duration=0.9, fps=30)
    with pytest.raises(ValueError, match="pass frames="):
        frame_indices("vlmevalkit", 4, duration=9, fps=30)
    with pytest.raises(ValueError, match="pass fps="):
        frame_times("vlmevalkit", 4, duration=9)
    with pytest.raises(ValueError, match="at least one frame"):
        frame_indices("lmms-eval", 0, duration=9, fps=30)
    with pytest.raises(ValueError, match="lmms-eval, vlmevalkit"):
        frame_times("mine", 4, duration=9)


@pytest.mark.parametrize(
    ("lines", "offset", "row"),
    [
        # middle 3: after the frames at 0 and 2; covers the frame at 2? no, it starts there: strictly inside only
        ([Line(2.0, 4.0, "edge")], 0, [0, 1, 2, 3]),
        ([Line(1.5, 4.5, "both")], 0, [0, 1, "both", 2, 3]),
        # the clock of the subtitles is 30 s ahead
        ([Line(31.5, 34.5, "late")], 30, [0, 1, "late", 2, 3]),
        ([Line(1.5, 4.5, "gone")], 30, [0, 1, 2, 3]),
        # under a second: middle 2.2, taken as 1.7 to 2.7, which holds the frame at 2
        ([Line(2.1, 2.3, "short")], 0, [0, 1, "short", 2, 3]),
        # exactly a second keeps its own edges, and no frame lies in 2.5 to 3.5
        ([Line(2.5, 3.5, "between")], 0, [0, 1, 2, 3]),
        # an open end is the duration, 8: middle 6.5, after all frames
        ([Line(5.0, None, "open")], 0, [0, 1, 2, 3, "open"]),
        # with an offset the open end is 8 - 6 = 2, before its start: middle 3.5, taken as 3 to 4
        ([Line(11.0, None, "odd")], 6, [0, 1, 2, 3]),
        # a dropped line still moves the frames before it; a frame at the middle stands before the line
        ([Line(2.5, 3.5, "x"), Line(3.0, 5.0, "y")], 0, [0, 1, 2, "y", 3]),
        # two lines in one gap keep their order, and one out of order does not bring frames back
        ([Line(3.5, 5.5, "a"), Line(1.0, 3.0, "b")], 0, [0, 1, 2, "a", "b", 3]),
    ],
)
def test_lines_stand_where_both_harnesses_put_them(lines, offset, row):
    assert interleave(lines, [0.0, 2.0, 4.0, 6.0], offset=offset, duration=8.0) == row


def test_a_forgotten_offset_changes_the_row():
    lines = [Line(31.5, 34.5, "late")]
    rows = [interleave(lines, [0.0, 2.0, 4.0], offset=offset, duration=6.0) for offset in (0, 30)]
    assert rows[0] != rows[1]


SHOWN = Item("q", "v.mp4", "Who sings?", ("a man", "two men"), "A", 15, "S2E", 6.0)
SAID = [Line(1.5, 4.5, "la la"), Line(3.9, 4.1, "end")]


def test_the_prompt_of_lmms_eval():
    assert as_text(prompt(SHOWN, "lmms-eval", [0.0, 2.0, 4.0], SAID)) == (
        "<image>\n<image>\nla la\n<image>\nend\nWho sings?\nA. a man\nB. two men\n"
        "Answer with the option's letter from the given choices directly.\n"
    )
    assert prompt(SHOWN, "lmms-eval") == [
        "Who sings?\nA. a man\nB. two men\nAnswer with the option's letter from the given choices directly.\n"
    ]
    assert as_text(prompt(SHOWN, "lmms-eval", [], [])).startswith("\nWho sings?")


def test_the_prompt_of_vlmevalkit():
    assert prompt(SHOWN, "vlmevalkit", [0.0, 2.0, 4.0], SAID) == [
        0,
        1,
        "la la\n",
        2,
        "end\n",
        "Who sings?\nA. a man\nB. two men\nAnswer with the option's letter from the given choices directly.",
    ]
    assert prompt(SHOWN, "vlmevalkit", [0.0, 2.0])[:2] == [0, 1]
