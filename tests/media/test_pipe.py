"""Films that flow by once."""

import contextlib
import os
import subprocess
import sys
import threading

import pytest
import torch

import seefar.media
from seefar.media import Fps, Keyframes, MediaError, Times, Uniform, write_video


@pytest.fixture(scope="module")
def films(tmp_path_factory, pictures, remux):
    folder = tmp_path_factory.mktemp("pipe")
    base = write_video(folder / "base.mp4", pictures(96), 24, gop=24, options={"bf": "2"})
    uneven = [0.04 * k + 0.5 * (k // 9) for k in range(96)]
    return {
        "mkv": remux(base, folder / "film.mkv"),
        "ts": remux(base, folder / "film.ts"),
        "mp4": remux(base, folder / "film.mp4", options={"movflags": "frag_keyframe+empty_moov"}),
        "uneven": write_video(folder / "uneven.mkv", pictures(96), 24, gop=24, seconds=uneven),
    }


@pytest.fixture
def flowing():
    """Bytes as the reading end of a pipe."""
    threads = []

    def flow(data):
        reading, writing = os.pipe()

        def feed():
            with os.fdopen(writing, "wb") as end, contextlib.suppress(BrokenPipeError):
                end.write(data)

        threads.append(threading.Thread(target=feed))
        threads[-1].start()
        return os.fdopen(reading, "rb")

    yield flow
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["mkv", "ts", "mp4", "uneven"])
@pytest.mark.parametrize("sampling", [Fps(3), Fps(500), Keyframes(), Times([0.0, 0.7, 0.7, 3.1])])
def test_a_pipe_gives_what_its_file_gives(films, flowing, kind, sampling):
    with flowing(films[kind].read_bytes()) as end:
        video = seefar.media.open(end)
        assert video.info.duration is None and video.info.frames is None
        got = video.clip(sampling)
    expected = seefar.media.open(films[kind]).clip(sampling)
    assert torch.equal(got.frames, expected.frames)
    torch.testing.assert_close(got.seconds, expected.seconds)


def test_frames_come_before_the_pipe_ends(films):
    reading, writing = os.pipe()
    enough, ended = threading.Event(), threading.Event()

    def feed():
        with os.fdopen(writing, "wb") as source:
            source.write(films["mkv"].read_bytes())
            source.flush()
            enough.wait(20)
        ended.set()

    thread = threading.Thread(target=feed)
    thread.start()
    with os.fdopen(reading, "rb") as end, seefar.media.open(end) as video:
        clips = video.read(Fps(24), chunk=4)
        assert len(next(clips)) == 4 and not ended.is_set()
        enough.set()
        assert sum(len(clip) for clip in clips) == 92
    thread.join(10)


def test_a_pipe_cannot_be_read_twice_nor_uniformly(films, flowing):
    with flowing(films["mkv"].read_bytes()) as end:
        video = seefar.media.open(end)
        with pytest.raises(MediaError, match="save it to a file, or sample with Fps"):
            video.clip(Uniform(4))
        assert len(video.clip(Fps(1))) == 4
        with pytest.raises(MediaError, match="only once"):
            video.clip(Fps(1))


def test_times_after_the_end_of_a_pipe_are_an_error(films, flowing):
    with flowing(films["mkv"].read_bytes()) as end, pytest.raises(ValueError, match=r"which lasts (3\.99|4\.00)\d s"):
        seefar.media.open(end).clip(Times([1.0, 9.0]))


def test_noise_from_a_pipe_is_a_clear_error(flowing):
    with flowing(bytes(range(256)) * 40) as end, pytest.raises(MediaError, match="cannot be read from a pipe"):
        seefar.media.open(end)


def test_a_dash_is_standard_input(films):
    code = (
        "import seefar.media as m; v = m.open('-'); c = v.clip(m.Fps(2)); "
        "print(len(c), v.info.duration, c.seconds[-1].item())"
    )
    piped = subprocess.run(
        [sys.executable, "-c", code], input=films["mkv"].read_bytes(), capture_output=True, check=True
    ).stdout.split()
    assert piped == [b"8", b"None", b"3.5"]


def test_a_named_pipe_works_by_its_path(films, tmp_path):
    path = tmp_path / "fifo.mkv"
    os.mkfifo(path)
    threading.Thread(target=lambda: path.write_bytes(films["mkv"].read_bytes()), daemon=True).start()
    video = seefar.media.open(path)
    assert len(video.clip(Fps(2))) == 8
