"""What packets tell: times, where there are none, second zero, and gaps."""

from fractions import Fraction

import numpy as np
import pytest

import seefar.media
from seefar.media import Fps, Keyframes, Times, Uniform, write_video


@pytest.mark.parametrize(
    ("name", "rate", "why"),
    [("a.h264", 30, "no time stamps in this stream"), ("b.avi", 30, "this stream holds only decoding times")],
)
def test_streams_without_time_stamps_get_times_from_the_rate_and_a_warning(tmp_path, pictures, number, name, rate, why):
    path = write_video(tmp_path / name, pictures(60), rate, gop=20, options={"bf": "2"})
    video = seefar.media.open(path)
    assert video.info.approximate_times and video.info.frames == 60
    for sampling, expected in (
        (Fps(1000), list(range(60))),
        (Fps(10), list(range(0, 60, 3))),
        (Uniform(4), [7, 22, 37, 52]),
        (Times([0.5, 1.01]), [15, 30]),
    ):
        clip = video.clip(sampling)
        assert [number(frame) for frame in clip.frames] == expected
        assert clip.seconds.tolist() == pytest.approx([index / rate for index in expected])
        assert video.warnings == [f"Times are approximate: {why}, {rate} fps assumed."]


def test_stamps_that_run_backwards_are_not_believed(tmp_path, pictures, number):
    parts = [write_video(tmp_path / f"{i}.ts", pictures(48), 24, gop=12, options={"bf": "0"}) for i in range(2)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    video = seefar.media.open(joined)
    clip = video.clip(Fps(1000))
    assert [number(frame) for frame in clip.frames] == [*range(48), *range(48)]
    assert clip.seconds.tolist() == pytest.approx([index / 24 for index in range(96)])
    assert "time stamps run backwards" in video.warnings[0]


def with_sound(source, path, sound_at, picture_at):
    """The film with a second of silence from ``sound_at`` on, its pictures moved by ``picture_at`` seconds."""
    import av

    with (
        av.open(str(source)) as old,
        av.open(str(path), "w", container_options={"avoid_negative_ts": "disabled"}) as new,
    ):
        pictures = new.add_stream_from_template(old.streams.video[0])
        sound = new.add_stream("mp2", rate=48000)
        sound.codec_context.time_base = Fraction(1, 48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152 * 40), np.int16), format="s16", layout="mono")
        silence.sample_rate = 48000
        silence.pts = int(sound_at * 48000)
        packets = [*sound.encode(silence), *sound.encode(None)]
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts += int(picture_at / packet.time_base)
                packet.dts += int(picture_at / packet.time_base)
                packet.stream = pictures
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            new.mux(packet)
    return path


@pytest.mark.parametrize(
    ("sound_at", "picture_at", "first"),
    [
        (Fraction(0), Fraction(1, 2), 0.5),  # sound first: pictures come in half a second later
        (Fraction(10), Fraction(10), 0.0),  # everything late
        (Fraction(10), Fraction(21, 2), 0.5),
        (Fraction(3), Fraction(2), 0.0),  # pictures first
    ],
)
def test_second_zero_is_the_start_of_pictures_or_sound(tmp_path, pictures, sound_at, picture_at, first):
    base = write_video(tmp_path / "base.mp4", pictures(24), 24, options={"bf": "0"})
    for ending in ("ts", "mkv"):
        path = with_sound(base, tmp_path / f"film.{ending}", sound_at, picture_at)
        video = seefar.media.open(path)
        clip = video.clip(Fps(24))
        assert len(clip) == 24
        assert clip.seconds[0].item() == pytest.approx(first, abs=0.03)  # mp2's own delay
        assert video.info.duration == pytest.approx(first + 1, abs=0.03)


def test_sound_that_begins_before_zero_does_not_move_the_pictures(tmp_path, pictures):
    base = write_video(tmp_path / "base.mp4", pictures(24), 24, options={"bf": "0"})
    path = with_sound(base, tmp_path / "film.ts", Fraction(-1, 10), Fraction(0))
    assert seefar.media.open(path).clip(Times([0.0])).seconds.item() == 0.0


def test_a_hole_in_a_film_of_one_rate_is_told(tmp_path, pictures):
    seconds = [k / 24 for k in range(48)] + [5 + k / 24 for k in range(48)]
    path = write_video(tmp_path / "day.mp4", pictures(96), 24, seconds=seconds)
    video = seefar.media.open(path)
    video.clip(Uniform(3))
    assert video.warnings == ["day.mp4: no frames are stored from 00:00:01 to 00:00:05"]


def test_a_variable_rate_is_named_and_its_pauses_are_no_holes(tmp_path, pictures):
    seconds = np.cumsum(np.random.default_rng(0).choice([0.02, 0.1, 0.5, 3.0], 40))
    path = write_video(tmp_path / "slides.mkv", pictures(40), 24, seconds=seconds - seconds[0])
    video = seefar.media.open(path)
    video.clip(Keyframes())
    assert video.info.variable_rate and video.warnings == []
    steady = write_video(tmp_path / "steady.mkv", pictures(40), 24)
    assert not seefar.media.open(steady).info.variable_rate


def test_what_precedes_the_first_key_packet_is_no_frame_of_the_film(tmp_path, pictures, number, remux):
    whole = write_video(tmp_path / "whole.ts", pictures(96), 24, gop=24, options={"bf": "0"})
    import av

    with av.open(str(whole)) as old, av.open(str(tmp_path / "cut.ts"), "w") as new:
        fresh = new.add_stream_from_template(old.streams.video[0])
        for index, packet in enumerate(old.demux(video=0)):
            if packet.size and index >= 30:
                packet.stream = fresh
                new.mux(packet)
    video = seefar.media.open(tmp_path / "cut.ts")
    clip = video.clip(Fps(1000))
    assert [number(frame) for frame in clip.frames] == list(range(48, 96))
    assert clip.seconds[0].item() == 0.0 and video.report.damaged == 0
