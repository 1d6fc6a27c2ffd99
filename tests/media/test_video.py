"""Every kind of film under every sampling, against a full decode by plain PyAV."""

import gc
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

import seefar.media
from seefar.media import Fps, Keyframes, MediaError, Times, Uniform, write_video
from seefar.media.film import Film
from seefar.media.pipe import Pipe
from seefar.media.video import Video

COUNT = 90
UNEVEN = [0.05 * k + 0.3 * (k // 7) + 0.9 * (k // 31) for k in range(COUNT)]
KINDS = {
    "constant": ("a.mp4", {"gop": 12, "options": {"bf": "0"}}),
    "open groups with B-frames": ("b.mp4", {"options": {"x264-params": "keyint=30:open-gop=1:bframes=3:scenecut=0"}}),
    "matroska": ("c.mkv", {"gop": 24, "options": {"bf": "3"}}),
    "transport stream": ("d.ts", {"gop": 24, "options": {"bf": "3"}}),
    "variable rate": ("e.mp4", {"gop": 16, "seconds": UNEVEN}),
    "variable rate, matroska": ("f.mkv", {"gop": 16, "seconds": UNEVEN, "options": {"bf": "2"}}),
    "hevc": ("g.mp4", {"gop": 24, "codec": "libx265", "preset": "ultrafast"}),
    "av1": ("h.mp4", {"gop": 24, "codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}}),
    "vp9": ("i.webm", {"gop": 24, "codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    "vp8 with hidden frames": (
        "j.webm",
        {
            "gop": 24,
            "codec": "libvpx",
            "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5", "b": "500k"},
        },
    ),
    "mpeg4 in avi": ("k.avi", {"gop": 12, "codec": "mpeg4", "options": {"bf": "2", "b": "900k"}}),
    "mpeg2 program stream": ("l.mpg", {"gop": 12, "codec": "mpeg2video", "options": {"bf": "2", "b": "2M"}}),
    "full range 4:2:0": ("m.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    "4:4:4": ("n.mp4", {"gop": 24, "pixels": "yuv444p"}),
    "ten bits": ("o.mp4", {"gop": 24, "pixels": "yuv420p10le"}),
    "RGB": ("p.mkv", {"gop": 24, "codec": "ffv1", "pixels": "bgr0"}),
    "gray": ("q.mp4", {"gop": 24, "pixels": "gray"}),
}
SHIFTED = {
    "negative first stamp": ("late.ts", Fraction(-1, 2)),
    "hours of offset": ("hours.ts", Fraction(7200)),
    "seconds of offset": ("five.mkv", Fraction(5)),
    "edit list into a group": ("cut.mp4", Fraction(-1, 2)),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory, pictures, remux, plain):
    """Kind -> (path, seconds by plain decoding, pictures by plain decoding, half a tick)."""
    folder = tmp_path_factory.mktemp("films")
    paths = {}
    for kind, (name, options) in KINDS.items():
        paths[kind] = write_video(folder / name, pictures(COUNT), 25, **{"preset": "ultrafast", "crf": 18} | options)
    options = {"gop": 30, "options": {"bf": "2"}}
    base = write_video(folder / "base.mp4", pictures(COUNT), 25, **options)
    keep = {"container_options": {"avoid_negative_ts": "disabled", "use_editlist": "1"}}
    for kind, (name, shift) in SHIFTED.items():
        more = keep | {
            "container_options": keep["container_options"] if "mp4" in name else {"avoid_negative_ts": "disabled"}
        }
        paths[kind] = remux(base, folder / name, shift=shift, **more)
    known = {}
    for kind, path in paths.items():
        frames = plain(path)
        tick = float(frames[0][2])
        seconds = [(pts - frames[0][0]) * tick for pts, _, _ in frames]
        known[kind] = path, seconds, [picture for _, picture, _ in frames], tick / 2 if tick <= 1e-3 else 1e-6
    return known


def shown(seconds, at, slack):
    """Position of the last frame whose time stamp is not after a second, by looking at each."""
    found = 0
    for position, second in enumerate(seconds):
        if second - slack <= at:
            found = position
    return found


ALL = [*KINDS, *SHIFTED]


@pytest.mark.parametrize("kind", ALL)
def test_frames_and_seconds_are_those_of_a_plain_decode_under_every_sampling(films, number, kind):
    path, seconds, oracle, slack = films[kind]
    video = seefar.media.open(path)
    duration = video.info.duration
    gap = 1 / 25 if "variable" not in kind else 0.05
    assert duration == pytest.approx(seconds[-1] + gap, abs=0.06)
    assert video.info.frames == len(seconds)
    times = sorted(np.random.default_rng(3).uniform(0, duration, 25))
    asked = {
        Fps(3): [shown(seconds, k / 3, slack) for k in range(math.ceil(duration * 3 - 1e-9))],
        Fps(1000): range(len(seconds)),
        Uniform(11): [shown(seconds, (k + 0.5) * duration / 11, slack) for k in range(11)],
        Uniform(COUNT): range(len(seconds)),
        Times(times): [shown(seconds, second, slack) for second in times],
    }
    for sampling, expected in asked.items():
        if not sampling.repeats:
            expected = sorted(set(expected))
        clip = video.clip(sampling)
        assert [number(frame) for frame in clip.frames] == [number(oracle[position]) for position in expected], sampling
        torch.testing.assert_close(clip.seconds, torch.tensor([seconds[p] for p in expected], dtype=torch.float64))
        assert video.report.damaged == 0 and video.warnings == []


@pytest.mark.parametrize("kind", ["constant", "open groups with B-frames", "matroska", "edit list into a group"])
def test_keyframes_are_those_the_decoder_calls_key_frames(films, number, kind):
    import av

    path, seconds, oracle, _ = films[kind]
    with av.open(str(path)) as container:
        expected = [position for position, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    clip = seefar.media.open(path).clip(Keyframes())
    assert [number(frame) for frame in clip.frames] == [number(oracle[position]) for position in expected]
    assert clip.seconds.tolist() == pytest.approx([seconds[position] for position in expected])


@pytest.mark.parametrize("kind", ALL)
def test_seeking_and_decoding_through_give_the_same_pixels_and_seconds(films, kind):
    path, *_ = films[kind]
    always = Video(Film(path, path.name, seek_cost=0), path)
    never = Video(Film(path, path.name, seek_cost=math.inf), path)
    for seed in range(3):
        times = sorted(np.random.default_rng(seed).uniform(0, always.info.duration, 8))
        a, b = always.clip(Times(times)), never.clip(Times(times))
        assert torch.equal(a.frames, b.frames) and torch.equal(a.seconds, b.seconds)


def test_sparse_reading_decodes_a_fraction_and_dense_reading_each_frame_once(films):
    path, seconds, *_ = films["constant"]
    sparse = Video(Film(path, path.name, seek_cost=4), path)
    sparse.clip(Times([0.5, 3.0]))
    assert sparse.report.decoded < 24
    dense = seefar.media.open(path)
    dense.clip(Fps(25))
    assert dense.report.decoded == len(seconds)


def test_chunks_hold_what_one_clip_holds_and_do_not_share_memory(films):
    video = seefar.media.open(films["constant"][0])
    whole = video.clip(Fps(10))
    parts = list(video.read(Fps(10), chunk=7))
    assert [len(part) for part in parts[:-1]] == [7] * (len(parts) - 1)
    assert torch.equal(torch.cat([part.frames for part in parts]), whole.frames)
    assert whole.frames.is_contiguous()


def test_reading_leaves_no_picture_behind_for_the_garbage_collector(films):
    def pictures():
        return sum(type(thing) is VideoFrame for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = pictures()
        for _ in seefar.media.open(films["constant"][0]).read(Fps(25), chunk=8):
            pass
        left = pictures() - before
    finally:
        gc.enable()
    assert left <= 4, "an hour of these fills the memory before the collector looks"


def test_the_timeline_tells_all_frames_and_a_pipe_says_that_it_cannot(films):
    video = seefar.media.open(films["constant"][0])
    assert len(video.timeline) == video.info.frames == COUNT
    with films["transport stream"][0].open("rb") as pipe, pytest.raises(MediaError, match="Save it to a file first"):
        _ = Video(Pipe(pipe, "pipe"), None).timeline


def test_sizes_are_height_then_width_and_pixels_stay_where_they_were(films, number):
    clip = seefar.media.open(films["constant"][0]).clip(Uniform(9), size=(40, 72))
    assert clip.frames.shape == (9, 3, 40, 72)
    assert [number(frame) for frame in clip.frames] == [5, 15, 25, 35, 45, 55, 65, 75, 85]


def test_times_outside_the_film_say_how_long_it_is(films):
    video = seefar.media.open(films["constant"][0])
    with pytest.raises(ValueError, match=r"3\.7 s is outside the film, which lasts 3\.600 s"):
        video.clip(Times([1.0, 3.7]))


def test_a_reading_that_is_dropped_closes_its_file(films):
    import os

    path = films["constant"][0]
    reading = seefar.media.open(path).read(Fps(5), chunk=1)
    next(reading)
    held = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    assert str(path) in held
    reading.close()
    held = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    assert str(path) not in held


@pytest.mark.parametrize(("options", "message"), [({"chunk": 0}, "chunk must be"), ({"size": (0, 5)}, "size must be")])
def test_sizes_and_chunks_that_make_no_sense_are_refused_at_once(films, options, message):
    with pytest.raises(ValueError, match=message):
        seefar.media.open(films["constant"][0]).read(Fps(1), **options)


def test_a_file_object_reads_like_its_file(films):
    path = films["matroska"][0]
    with path.open("rb") as file:
        video = seefar.media.open(file)
        assert video.path is None and video.info.frames == COUNT
        again = seefar.media.open(path)
        for sampling in (Uniform(5), Fps(2), Uniform(5)):
            assert torch.equal(video.clip(sampling).frames, again.clip(sampling).frames)


def test_importing_the_room_does_not_import_ffmpeg():
    import subprocess

    code = "import seefar.media, sys; assert 'av' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_media_errors_are_value_errors():
    assert issubclass(MediaError, ValueError)
