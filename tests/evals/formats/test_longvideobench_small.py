"""The small set is read through the same door as the published files, and its keys are true."""

import json

import pytest

from seefar.evals.formats.longvideobench import CATEGORIES, interleave, load, prompt, subtitles
from seefar.evals.formats.longvideobench_score import score, submission
from seefar.evals.formats.longvideobench_small import write_small

COLUMNS = [
    "video_id", "question", "question_wo_referring_query", "candidates", "correct_choice", "position", "topic_category",
    "question_category", "level", "id", "video_path", "subtitle_path", "duration_group",
    "starting_timestamp_for_subtitles", "duration", "view_count",
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return folder, write_small(folder, seed=3, films={15: 2, 60: 2, 600: 2})


def test_its_records_have_the_published_columns_in_their_order(small):
    rows = json.loads((small[0] / "lvb_val.json").read_text())
    assert all(list(row) == COLUMNS for row in rows)
    assert {row["level"] for row in rows} == {"L1-Perception", "L2-Relation"}


def test_loading_gives_back_what_was_asked(small):
    folder, films = small
    items = {item.id: item for item in load(folder)}
    asked = {key: (film, choice) for film in films for key, choice in film.questions.items()}
    assert items.keys() == asked.keys() and len(items) > 50
    for key, (film, choice) in asked.items():
        item = items[key]
        assert item.options["ABCDE".index(item.answer)] == choice.options[choice.answer]
        assert (item.group, item.duration, item.category) == (film.group, film.story.seconds, choice.category)
        assert item.category in CATEGORIES
    assert score(list(items.values()), {key: item.answer for key, item in items.items()}).accuracy == 1


def test_the_line_a_question_refers_to_stands_where_it_is_said_only_if_the_offset_is_used(small):
    folder, films = small
    choices = {key: choice for film in films for key, choice in film.questions.items()}
    referring = [item for item in load(folder) if item.category in ("T2O", "T2A")]
    assert len(referring) > 5
    for item in referring:
        lines, times = subtitles(folder, item), [float(second) for second in range(int(item.duration))]
        (line,) = [line for line in lines if f"'{line.text}'" in item.question]
        (((_, at),),) = choices[item.id].evidence
        assert (line.start - item.offset, line.end - item.offset) == pytest.approx(at)
        row = interleave(lines, times, offset=item.offset, duration=item.duration)
        if at[1] - at[0] > 1:
            assert row[row.index(line.text) - 1] == int((at[0] + at[1]) / 2)
        assert prompt(item, "lmms-eval", times, lines)[-1].startswith(item.question)


def test_both_layouts_of_subtitles_occur(small):
    records = [json.loads(path.read_text()) for path in (small[0] / "subtitles").iterdir()]
    assert {tuple(each[0]) for each in records} == {("timestamp", "text"), ("start", "end", "line")}
    assert any(each[-1].get("timestamp", [0, 0])[1] is None for each in records)


def test_the_keyless_split_shares_no_film_and_can_only_be_handed_in(tmp_path, small):
    write_small(tmp_path, seed=3, films={15: 2}, split="test")
    items = load(tmp_path, "test")
    assert {item.answer for item in items} == {None}
    assert not {item.question for item in items if item.category == "T2O"} & {i.question for i in load(small[0])}
    submission(items, {item.id: "A" for item in items}, tmp_path / "out.json")


def test_a_seed_gives_the_same_set(tmp_path, small):
    write_small(tmp_path, seed=3, films={15: 2, 60: 2, 600: 2})
    assert (tmp_path / "lvb_val.json").read_text() == (small[0] / "lvb_val.json").read_text()


def test_films_are_drawn_only_if_asked_for(tmp_path, small):
    from seefar.media import open as open_video

    assert not (small[0] / "videos").exists()
    write_small(tmp_path, seed=3, films={15: 1}, render=True, size=(72, 128))
    (item, *_) = load(tmp_path)
    assert open_video(tmp_path / "videos" / item.video).info.duration == pytest.approx(item.duration, abs=0.3)


def test_unknown_groups_are_refused(tmp_path):
    with pytest.raises(ValueError, match="30"):
        write_small(tmp_path, films={30: 1})
