"""Subtitles: every dialect of the two text formats, tracks inside films, and times that count from the film's start."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seefar.media.subtitles import Cue, parse_subtitles, plain, subtitles

WORDS = st.lists(st.sampled_from(["snow", "12", "Ärger", "a,b", "x --", "Ω", "don't"]), min_size=1, max_size=5).map(
    " ".join
)


@st.composite
def cue_lists(draw):
    gaps = draw(st.lists(st.tuples(st.integers(0, 4_000_000), st.integers(0, 9_000), WORDS), max_size=8))
    return [(start, start + length, text) for start, length, text in sorted(gaps)]


def stamp(ms: int, mark: str, hours: bool = True) -> str:
    front = f"{ms // 3_600_000:02d}:" if hours or ms >= 3_600_000 else ""
    return f"{front}{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{mark}{ms % 1000:03d}"


@settings(max_examples=60, deadline=None)
@given(cue_lists(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_srt_comes_back_as_it_was_written(cues, newline, bom):
    blocks = [f"{k}\n{stamp(a, ',')} --> {stamp(b, ',')}\n{text}\n" for k, (a, b, text) in enumerate(cues, 1)]
    text = ("\ufeff" if bom else "") + "\n".join(blocks).replace("\n", newline)
    got = parse_subtitles(text)
    assert got.broken == 0
    assert sorted((round(c.start * 1000), round(c.end * 1000), c.text) for c in got) == sorted(cues)


@settings(max_examples=60, deadline=None)
@given(cue_lists(), st.booleans())
def test_vtt_comes_back_with_or_without_hours_identifiers_and_settings(cues, dressed):
    head = "WEBVTT - a title\nKind: captions\n\nNOTE\nnot --- said\n\nSTYLE\n::cue { color: red }\n\n"
    name, tail = ("intro\n", " align:start position:0%") if dressed else ("", "")
    blocks = [f"{name}{stamp(a, '.', False)} --> {stamp(b, '.', False)}{tail}\n{text}\n" for a, b, text in cues]
    got = parse_subtitles(head + "\n".join(blocks))
    assert sorted((round(c.start * 1000), round(c.end * 1000), c.text) for c in got) == sorted(cues)


def test_rows_of_a_cue_are_joined_and_tags_are_taken_off():
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Salt <00:01.500><c.y>&amp;</c>\n{\\an8}<i>pepper</i>\n"
    assert parse_subtitles(text) == [Cue(1.0, 2.0, "Salt & pepper")]
    assert plain("if a < b and c > d") == "if a < b and c > d"


def test_broken_cues_are_skipped_and_counted():
    good = "2\n00:00:05,000 --> 00:00:06,000\nkept\n"
    broken = [
        "1\n00:00:xx,000 --> 00:00:02,000\nno time\n",
        "3\n00:00:09,000 --> 00:00:08,000\nends before it starts\n",
        "4\n00:00:61,000 --> 00:01:02,000\nsixty one seconds\n",
    ]
    got = parse_subtitles("\n".join([broken[0], good, *broken[1:], "5\n00:00:10,000 --> 00:00:11,000\n\n"]))
    assert (list(got), got.broken) == ([Cue(5.0, 6.0, "kept")], 3)


def test_a_missing_blank_line_does_not_swallow_the_next_cue():
    text = "1\n00:00:01,000 --> 00:00:02,000\nfirst\n2\n00:00:03,000 --> 00:00:04,000\nsecond\n"
    assert [cue.text for cue in parse_subtitles(text)] == ["first", "second"]


def test_overlapping_cues_both_stay_and_come_in_the_order_of_their_start():
    text = "1\n00:00:05,000 --> 00:00:09,000\nlate\n\n2\n00:00:01,000 --> 00:00:06,000\nearly\n"
    assert parse_subtitles(text) == [Cue(1.0, 6.0, "early"), Cue(5.0, 9.0, "late")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_old_and_new_encodings_are_read(tmp_path: Path, encoding: str):
    path = tmp_path / "film.srt"
    path.write_bytes("1\n00:00:01,000 --> 00:00:02,000\nÜber größte Käse\n".encode(encoding))
    assert subtitles(path)[0].text == "Über größte Käse"


def film(path: Path, codec: str | None, cues: list[tuple[float, float, str]], shift: float = 0.0) -> Path:
    """A film of ten seconds whose pictures begin at second ``shift`` of the file's clock, with a subtitle track."""
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as out:
        video = out.add_stream("libx264", rate=5)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        if codec:
            words = out.add_stream(codec)
            words.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\n[Events]\n"
        for k in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * k, np.uint8), format="rgb24")
            frame.pts = k + round(5 * shift)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for k, (start, end, text) in enumerate(cues if codec else []):
            unit = 1 / float(words.time_base)
            packet = words.codec_context.encode_subtitle(
                av.subtitles.subtitle.SubtitleSet.create(
                    f"{k},0,Default,,0,0,0,,{text}".encode(), 0, round((end - start) * 1000)
                )
            )
            packet.stream, packet.time_base = words, words.time_base
            packet.pts = packet.dts = round((start + shift) * unit)
            packet.duration = round((end - start) * unit)
            out.mux(packet)
    return path


@pytest.mark.parametrize(
    ("ending", "codec"), [("mkv", "subrip"), ("mkv", "ass"), ("mp4", "mov_text"), ("mkv", "webvtt")]
)
def test_tracks_inside_a_film_are_read(tmp_path: Path, ending: str, codec: str):
    cues = [(1.0, 2.5, "Salt, and\\Npepper"), (4.0, 5.0, "second")]
    got = subtitles(film(tmp_path / f"film.{ending}", codec, cues))
    assert [cue.text for cue in got] == ["Salt, and pepper", "second"]
    np.testing.assert_allclose([(cue.start, cue.end) for cue in got], [(1.0, 2.5), (4.0, 5.0)], atol=0.01)
    assert got.broken == 0 and len(got.sources) == 1


def test_times_count_from_the_first_picture(tmp_path: Path):
    path = film(tmp_path / "late.mkv", "subrip", [(3.0, 4.0, "three")], shift=100.0)
    assert subtitles(path)[0].start == pytest.approx(3.0, abs=0.01)
    assert subtitles(path, start=90.0)[0].start == pytest.approx(13.0, abs=0.01)


def test_files_beside_the_film_are_found_by_its_name_and_a_cue_is_given_once(tmp_path: Path):
    path = film(tmp_path / "talk.mkv", "subrip", [(1.0, 2.0, "both")])
    (tmp_path / "talk.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nboth\n")
    (tmp_path / "talk.de.vtt").write_text(
        "WEBVTT\n\n00:03.000 --> 00:04.000\nbeide\n\n00:09.000 --> 00:07.000\nkaputt\n"
    )
    (tmp_path / "talker.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nanother film\n")
    got = subtitles(path)
    assert [cue.text for cue in got] == ["both", "beide"]
    assert got.broken == 1 and set(got.sources[:2]) == {"talk.srt", "talk.de.vtt"}


def test_a_film_without_words_has_none_and_a_missing_one_is_an_error(tmp_path: Path):
    assert subtitles(film(tmp_path / "mute.mp4", None, [])) == []
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4"):
        subtitles(tmp_path / "nothing.mp4")


def test_a_file_that_is_no_film_gives_the_cues_beside_it(tmp_path: Path):
    (tmp_path / "odd.mp4").write_text("this is no film")
    (tmp_path / "odd.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nwords\n")
    assert [cue.text for cue in subtitles(tmp_path / "odd.mp4")] == ["words"]
