"""Oracle: the Pillow-backed image processors of transformers, which run without torchvision, on wide pictures, where
every Pillow resizes rows first (13 does not on tall ones); and Pillow itself, rows first, on tall ones.
"""

import numpy as np
import pytest
import torch

from seefar.vlm.hf_pixels import fit_area, longest_edge, normalise, patchify, resize

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
GREY = 1 / 255 + 1e-6


def pictures(count, height, width):
    """Photographs' worth of structure: a real one, cut at different places."""
    from skimage.data import astronaut

    whole = torch.from_numpy(astronaut()).permute(2, 0, 1)
    return torch.stack(
        [whole[:, 40 + 20 * k : 40 + 20 * k + height, 90 + 9 * k : 90 + 9 * k + width] for k in range(count)]
    )


def largest_difference(got, want, std):
    """In units of the picture before normalisation, where one grey level is 1/255."""
    return float(((got - want) * torch.tensor(std).view(3, 1, 1)).abs().max())


@pytest.mark.parametrize(("height", "width"), [(300, 400), (36, 40), (90, 200)])
def test_qwen_patches_are_those_of_its_image_processor(height, width):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    frame = pictures(1, height, width)
    theirs = Qwen2VLImageProcessorPil(size={"shortest_edge": 84 * 84, "longest_edge": 140 * 140})
    want = theirs(frame[0].permute(1, 2, 0).numpy(), return_tensors="pt")
    size = fit_area(height, width, 28, 84 * 84, 140 * 140)
    pixels = normalise(resize(frame, size, 3), 1 / 255, MEAN, STD)
    got, grid = patchify(pixels, 14, 2, 2)
    assert list(grid) == want["image_grid_thw"][0].tolist()
    blocks = [each.reshape(-1, 3, 2 * 14, 14) for each in (got, want["pixel_values"])]
    assert largest_difference(*blocks, STD) <= GREY


def test_two_frames_of_a_pair_share_a_patch_in_order_and_the_last_one_is_repeated():
    pixels = torch.randn(3, 3, 28, 56)
    patches, grid = patchify(pixels, 14, 2, 2)
    assert grid == (2, 2, 4)
    split = patches.reshape(2, 8, 3, 2, 14, 14)
    assert torch.equal(split[0, 0, :, 0], pixels[0, :, :14, :14])
    assert torch.equal(split[0, 0, :, 1], pixels[1, :, :14, :14])
    assert torch.equal(split[0, 1, :, 1], pixels[1, :, :14, 14:28]), (
        "patches that merge stand together: right neighbour next"
    )
    assert torch.equal(split[0, 2, :, 0], pixels[0, :, 14:, :14]), "then the row below"
    assert torch.equal(split[0, 4, :, 0], pixels[0, :, :14, 28:42]), "then the next merged block"
    assert torch.equal(split[1, :, :, 0], split[1, :, :, 1])


@pytest.mark.parametrize(("height", "width"), [(222, 301), (30, 40)])
def test_onevision_pixels_are_those_of_its_image_processor(height, width):
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

    frame = pictures(1, height, width)
    theirs = LlavaOnevisionImageProcessorPil(size={"height": 96, "width": 96}, image_grid_pinpoints=[[96, 96]])
    want = theirs(frame[0].permute(1, 2, 0).numpy(), return_tensors="pt")["pixel_values"][0, 0]
    got = normalise(resize(frame, (96, 96), 3), 1 / 255, MEAN, STD)[0]
    assert largest_difference(got, want, STD) <= GREY


@pytest.mark.parametrize(("height", "width"), [(200, 320), (190, 310)])
def test_smolvlm_pixels_are_those_of_its_image_processor(height, width):
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    from seefar.vlm.families import SmolVLM

    frame = pictures(1, height, width)
    sizes = {"size": {"longest_edge": 160}, "max_image_size": {"longest_edge": 64}}
    want = SmolVLMImageProcessorPil(**sizes, do_image_splitting=False)(
        frame[0].permute(1, 2, 0).numpy(), return_tensors="pt"
    )
    got = SmolVLM(None, sizes).pixels(frame, (64, 64))[0]
    assert largest_difference(got, want["pixel_values"][0, 0], (0.5, 0.5, 0.5)) <= GREY


@pytest.mark.parametrize("resample", [1, 2, 3])
@pytest.mark.parametrize("size", [(61, 45), (45, 101), (240, 310), (310, 90)])
def test_resizing_is_that_of_pillow_to_one_grey_level(resample, size):
    from PIL import Image

    frames = pictures(2, 150, 180)
    pictures_of = (Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames)
    rows_first = (each.resize((size[1], 150), resample).resize(size[::-1], resample) for each in pictures_of)
    want = np.stack([np.asarray(each) for each in rows_first])
    got = resize(frames, size, resample).permute(0, 2, 3, 1).numpy()
    assert np.abs(got.astype(int) - want.astype(int)).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (97, 131), (28, 28), (2000, 300), (13, 900)])
def test_sizes_are_those_of_qwens_own_rule(height, width):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    for least, most in ((56 * 56, 28 * 28 * 1280), (128 * 28 * 28, 768 * 28 * 28), (4 * 28 * 28, 9 * 28 * 28)):
        assert fit_area(height, width, 28, least, most) == smart_resize(height, width, 28, least, most)


def test_a_ribbon_is_refused():
    with pytest.raises(ValueError, match="200:1"):
        fit_area(10, 2001, 28, 1, 10**6)


def test_the_shorter_side_is_even():
    assert longest_edge(1080, 1920, 2048) == (1152, 2048)
    assert longest_edge(333, 200, 101) == (101, 60)
    assert longest_edge(200, 333, 101) == (60, 101)
    assert longest_edge(201, 333, 100) == (60, 100)
    assert longest_edge(61, 100, 100) == (62, 100)


def test_an_unknown_filter_is_named():
    with pytest.raises(ValueError, match="filter 4"):
        resize(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), (4, 4), 4)
