"""VCD: its paper file keeps its shape, its experiment runs, and the rule is the published one."""

import pytest
import torch
from torch.testing import assert_close

from seefar.decoding import diffusion_noise
from seefar.papers import vcd
from seefar.papers._card import Scale
from seefar.synthetic.scenes import PairedScenes
from seefar.testing import check_paper
from seefar.vlm.captioner import caption_inputs, captioner

WORLD = PairedScenes(pairs=2, grid=2)


@pytest.fixture(scope="module")
def described():
    """A captioner with random weights and two pictures."""
    torch.manual_seed(0)
    model = captioner(WORLD.vocabulary, WORLD.size).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model, caption_inputs(WORLD.draw(2, 0).pixels)


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(vcd, Scale("smoke", (0,)))


@torch.no_grad()
def test_what_is_built_is_the_published_equation(described):
    model, inputs = described
    base = model(**inputs).logits[:, -1]
    blurred = model(**diffusion_noise(500)(inputs)).logits[:, -1]
    want = (1.5 * base - 0.5 * blurred).masked_fill(
        base < base.amax(1, keepdim=True) + torch.tensor(0.1).log(), -torch.inf
    )
    assert_close(vcd.build(model, inputs, alpha=0.5)(inputs["input_ids"], base), want)


def test_pictures_that_are_not_normalised_are_refused(described):
    model, inputs = described
    with pytest.raises(ValueError, match=r"torch\.int8"):
        contrast = vcd.build(model, {**inputs, "pixel_values": inputs["pixel_values"].to(torch.int8)})
        contrast(inputs["input_ids"], torch.zeros(2, WORLD.vocabulary))


def test_a_plausibility_that_is_no_share_is_refused(described):
    with pytest.raises(ValueError, match=r"\[0, 1\], got 2"):
        vcd.build(*described, beta=2)
