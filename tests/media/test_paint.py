"""Upright RGB: rotation against FFmpeg's own filters, pixel formats against the pictures that went in."""

import numpy as np
import pytest

import seefar.media
from seefar.media import Fps, Times, Uniform, write_video

# what FFmpeg's command line inserts for an angle (counterclockwise, as PyAV writes it) and mirrors
UPRIGHT = {
    (0, False, False): [],
    (90, False, False): [("transpose", "cclock")],
    (180, False, False): [("hflip", None), ("vflip", None)],
    (270, False, False): [("transpose", "clock")],
    (0, True, False): [("hflip", None)],
    (0, False, True): [("vflip", None)],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory, pictures):
    return write_video(tmp_path_factory.mktemp("paint") / "base.mp4", pictures(6), 6, crf=12)


def filtered(path, steps):
    """The first frame through FFmpeg's filters, as (3, H, W) float."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        last = graph.add_buffer(template=stream)
        for name, argument in steps:
            step = graph.add(name, argument) if argument else graph.add(name)
            last.link_to(step)
            last = step
        sink = graph.add("buffersink")
        last.link_to(sink)
        graph.configure()
        graph.push(next(container.decode(stream)))
        return graph.pull().to_ndarray(format="rgb24").transpose(2, 0, 1).astype(float)


@pytest.mark.parametrize("turn", UPRIGHT)
def test_pictures_stand_upright_as_in_ffmpegs_player(tmp_path, base, remux, turn):
    import av

    angle, hflip, vflip = turn
    path = tmp_path / "turned.mp4"
    with av.open(str(base)) as old, av.open(str(path), "w") as new:
        fresh = new.add_stream_from_template(old.streams.video[0])
        fresh.set_display_rotation(angle, hflip, vflip)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = fresh
                new.mux(packet)
    expected = filtered(base, UPRIGHT[turn])
    video = seefar.media.open(path)
    clip = video.clip(Times([0.0]))
    assert clip.frames.shape[2:] == expected.shape[1:] == (video.info.height, video.info.width)
    assert np.abs(clip.frames[0].numpy() - expected).mean() < 2
    if not (hflip or vflip):
        assert video.info.rotation == -angle % 360
    small = video.clip(Times([0.0]), size=(expected.shape[1] // 2, expected.shape[2] // 2)).frames[0].numpy()
    blocks = expected.reshape(3, expected.shape[1] // 2, 2, expected.shape[2] // 2, 2).mean((2, 4))
    assert np.abs(small - blocks).mean() < 3


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size", "error"),
    [
        ("a.mp4", "libx264", "yuv444p", (64, 96), 3),
        ("b.mp4", "libx264", "yuv420p10le", (64, 96), 4),
        ("c.mkv", "ffv1", "bgr0", (64, 96), 0),
        ("d.mkv", "ffv1", "bgra", (64, 96), 0),
        ("e.avi", "mjpeg", "yuvj420p", (64, 96), 5),
        ("f.mp4", "libx264", None, (181, 319), 3),
        ("g.mkv", "rawvideo", "uyvy422", (64, 96), 2),
        ("h.avi", "rawvideo", "gray", (64, 96), None),
        ("i.mkv", "ffv1", "gray16le", (64, 96), None),
        ("j.mp4", "libx264rgb", "rgb24", (65, 97), 3),
    ],
)
def test_every_pixel_format_comes_out_as_the_rgb_that_went_in(
    tmp_path, pictures, number, name, codec, pixels, size, error
):
    path = write_video(tmp_path / name, pictures(8, size), 8, codec=codec, pixels=pixels, crf=12)
    wanted = np.stack(list(pictures(8, size))).transpose(0, 3, 1, 2).astype(float)
    if error is None:  # gray holds the brightness only
        wanted = (wanted * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True).repeat(3, 1)
    clip = seefar.media.open(path).clip(Uniform(8))
    assert np.abs(clip.frames.numpy() - wanted).mean() <= (2 if error is None else error)
    odd = seefar.media.open(path).clip(Uniform(8), size=(47, 71))
    assert odd.frames.shape == (8, 3, 47, 71) and [number(frame) for frame in odd.frames] == list(range(8))


@pytest.mark.parametrize(("space", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (2, 0.299, 0.114)])
@pytest.mark.parametrize("full", [False, True])
def test_the_colour_matrix_and_range_are_those_the_frame_names(space, kr, kb, full):
    import av

    from seefar.media.paint import Painter

    luma, blue, red = 120, 100, 180
    planes = [np.full((64, 64), luma), np.full((16, 64), blue), np.full((16, 64), red)]
    frame = av.VideoFrame.from_ndarray(np.concatenate(planes).astype(np.uint8), format="yuv420p")
    frame.colorspace, frame.color_range = space, 2 if full else 1
    out = np.empty((3, 64, 64), np.uint8)
    Painter((64, 64)).paint(frame, out)
    y, cb, cr = (
        (luma, blue - 128, red - 128)
        if full
        else ((luma - 16) * 255 / 219, *(255 / 224 * (c - 128) for c in (blue, red)))
    )
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    expected = [r, (y - kr * r - kb * b) / (1 - kr - kb), b]
    assert np.abs(out[:, 32, 32] - np.array(expected)).max() <= 2


def test_gif_frames_have_their_own_durations(tmp_path, picture, number):
    from PIL import Image

    images = [Image.fromarray(picture(index)) for index in range(6)]
    pauses = [100, 200, 50, 300, 1000, 500]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=pauses)
    video = seefar.media.open(tmp_path / "a.gif")
    clip = video.clip(Fps(1000))
    assert [number(frame) for frame in clip.frames] == list(range(6))
    assert clip.seconds.tolist() == pytest.approx([0, 0.1, 0.3, 0.35, 0.65, 1.65])
    assert video.info.duration == pytest.approx(2.15) and video.info.variable_rate
    clip = video.clip(Times([0.29, 0.3, 1.0, 2.15]))
    assert [number(frame) for frame in clip.frames] == [1, 2, 4, 5]


def test_a_changed_picture_size_inside_a_film_is_brought_to_the_first(tmp_path, pictures, number):
    parts = [write_video(tmp_path / f"{h}.ts", pictures(12, (h, w)), 12) for h, w in ((64, 96), (96, 144))]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    clip = seefar.media.open(joined).clip(Fps(1000))
    assert clip.frames.shape[2:] == (64, 96)
    assert [number(frame) for frame in clip.frames] == [*range(12), *range(12)]
