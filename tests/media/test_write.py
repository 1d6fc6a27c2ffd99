"""Writing films."""

import numpy as np
import pytest

from seefar.media import write_video


def test_a_film_comes_back_frame_by_frame(tmp_path, pictures, plain, number):
    path = write_video(tmp_path / "a.mp4", pictures(50), 24, gop=10)
    frames = plain(path)
    assert [number(picture) for _, picture, _ in frames] == list(range(50))
    assert [float(pts * base) for pts, _, base in frames] == pytest.approx([k / 24 for k in range(50)])
    import av

    with av.open(str(path)) as container:
        keys = [index for index, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert set(range(0, 50, 10)) <= set(keys) and list(tmp_path.iterdir()) == [path]


def test_given_seconds_become_time_stamps(tmp_path, pictures, plain):
    seconds = [k * k / 7 for k in range(20)]
    frames = plain(write_video(tmp_path / "a.mp4", pictures(20), 24, seconds=seconds, options={"bf": "2"}))
    assert [float(pts * base) for pts, _, base in frames] == pytest.approx(seconds, abs=1e-5)


def test_an_interrupted_writing_leaves_neither_a_film_nor_rubbish_and_keeps_the_old_one(tmp_path, pictures):
    path = write_video(tmp_path / "a.mp4", pictures(5), 24)
    before = path.read_bytes()

    def interrupted():
        yield from pictures(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, interrupted(), 24)
    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "b.mp4", interrupted(), 24)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == before


def test_frames_are_taken_one_at_a_time(tmp_path, picture):
    alive = []

    def frames():
        for index in range(20):
            assert len(alive) == index
            alive.append(index)
            yield picture(index)

    write_video(tmp_path / "a.mkv", frames(), 24)
    assert len(alive) == 20


def test_what_makes_no_film_is_refused(tmp_path, picture):
    frame = picture(0)
    for frames, more, message in [
        ([], {}, "no frames for a.mp4"),
        ([frame, frame[:32]], {}, r"frame 1 is \(32, 96, 3\)"),
        ([frame.astype(np.float32)], {}, "uint8"),
        ([frame, frame], {"seconds": [0.0, 0.0]}, "seconds must rise; frame 1"),
        ([frame, frame], {"seconds": [0.0]}, "fewer seconds than frames"),
        ([frame], {"codec": "aac"}, "encodes no pictures"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_video(tmp_path / "a.mp4", frames, 24, **more)
    with pytest.raises(ValueError, match="rate must be positive"):
        write_video(tmp_path / "a.mp4", [frame], 0)
    assert list(tmp_path.iterdir()) == []


def test_the_same_frames_make_the_same_bytes(tmp_path, pictures):
    a, b = (write_video(tmp_path / name, pictures(30), 24, threads=1) for name in ("a.mp4", "b.mp4"))
    assert a.read_bytes() == b.read_bytes()
