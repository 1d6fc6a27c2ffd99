"""Images and folders of them."""

import numpy as np
import pytest
import torch
from PIL import Image

import seefar.media
from seefar.media import Fps, Keyframes, MediaError, Times, Uniform


@pytest.fixture
def folder(tmp_path, picture):
    for index in range(12):
        Image.fromarray(picture(index)).save(
            tmp_path / f"frame{index}.{('png', 'bmp', 'webp')[index % 3]}", lossless=True
        )
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    return tmp_path


def test_a_folder_is_a_film_in_natural_order(folder, number):
    video = seefar.media.open(folder)
    clip = video.clip(Fps(1))
    assert [number(frame) for frame in clip.frames] == list(range(12))
    assert clip.seconds.tolist() == list(range(12))
    assert (video.info.duration, video.info.frames, video.info.codec) == (12.0, 12, "image")


def test_the_rate_of_a_folder_sets_its_times(folder, number):
    video = seefar.media.open(folder, rate=4)
    clip = video.clip(Times([0.3, 0.74, 3.0]))
    assert [number(frame) for frame in clip.frames] == [1, 2, 11] and clip.seconds.tolist() == [0.25, 0.5, 2.75]
    assert [number(frame) for frame in video.clip(Uniform(3)).frames] == [2, 6, 10]
    with pytest.raises(ValueError, match="rate must be positive"):
        seefar.media.open(folder, rate=0)


def test_pixels_of_lossless_images_are_exact(folder, picture):
    frames = seefar.media.open(folder).clip(Times([5.0])).frames
    assert torch.equal(frames[0], torch.from_numpy(picture(5)).permute(2, 0, 1))


def test_a_broken_image_is_left_out_and_counted(folder):
    (folder / "frame5.webp").write_bytes(b"RIFF....WEBPbroken")
    video = seefar.media.open(folder)
    clip = video.clip(Fps(1))
    assert clip.seconds.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert video.warnings == [f"{folder.name}: 1 of 12 frames could not be decoded (first at 00:00:05)"]


@pytest.mark.parametrize("sampling", [Fps(7), Uniform(5), Keyframes(), Times([0.0])])
def test_one_image_is_one_frame_at_zero(tmp_path, picture, number, sampling):
    Image.fromarray(picture(77)).save(tmp_path / "a.jpg", quality=95)
    clip = seefar.media.open(tmp_path / "a.jpg").clip(sampling)
    assert clip.seconds.tolist() == [0.0] and number(clip.frames[0]) == 77


def test_exif_turns_a_photograph_upright(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to show
    Image.fromarray(picture(9)).save(tmp_path / "a.png", exif=exif)
    clip = seefar.media.open(tmp_path / "a.png").clip(Uniform(1))
    assert np.array_equal(clip.frames[0].permute(1, 2, 0).numpy(), np.rot90(picture(9), -1))


def test_transparency_is_shown_on_white_and_sixteen_bits_are_scaled(tmp_path):
    glass = np.zeros((4, 6, 4), np.uint8)
    glass[:, :3] = (200, 10, 30, 255)
    Image.fromarray(glass).save(tmp_path / "glass.png")
    frame = seefar.media.open(tmp_path / "glass.png").clip(Uniform(1)).frames[0]
    assert frame[:, 0, 0].tolist() == [200, 10, 30] and frame[:, 0, 5].tolist() == [255, 255, 255]
    deep = np.full((4, 6), 65535, np.uint16)
    deep[:, :3] = 32768
    Image.fromarray(deep).save(tmp_path / "deep.png")
    frame = seefar.media.open(tmp_path / "deep.png").clip(Uniform(1)).frames[0]
    assert frame[:, 0, 0].tolist() == [128] * 3 and frame[:, 0, 5].tolist() == [255] * 3


def test_shrinking_averages_areas(tmp_path):
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(np.stack([checks] * 3, -1).astype(np.uint8)).save(tmp_path / "a.png")
    frame = seefar.media.open(tmp_path / "a.png").clip(Uniform(1), size=(16, 16)).frames[0]
    assert frame.float().sub(127.5).abs().max() <= 1


def test_an_animated_webp_says_that_only_its_first_picture_is_read(tmp_path, picture):
    images = [Image.fromarray(picture(index)) for index in range(3)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], duration=100)
    video = seefar.media.open(tmp_path / "a.webp")
    video.clip(Uniform(1))
    assert "only the first of its pictures is read" in video.warnings[0]


def test_a_folder_of_broken_images_is_an_error(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(MediaError, match="not one image in it can be decoded"):
        seefar.media.open(tmp_path).clip(Fps(1))
    with pytest.raises(MediaError, match="can be decoded"):
        seefar.media.open(tmp_path / "a.png").clip(Fps(1))
