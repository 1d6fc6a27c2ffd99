"""The captioner is a small LLaVA: it sees its picture, reads its prompt, and generates by any rule."""

import pytest
import torch

from seefar.synthetic.scenes import PICTURE, START, PairedScenes
from seefar.vlm.captioner import caption_inputs, captioner, describe

WORLD = PairedScenes(pairs=2, grid=2)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return captioner(WORLD.vocabulary, WORLD.size).eval()


def test_the_prompt_has_a_place_for_each_patch(model):
    pixels = WORLD.draw(3, 0).pixels
    inputs = caption_inputs(pixels)
    assert inputs["input_ids"].tolist() == [[PICTURE] * 4 + [START]] * 3
    assert model(**inputs).logits.shape == (3, 5, WORLD.vocabulary)


def test_what_it_says_hangs_on_the_picture(model):
    one, other = WORLD.draw(1, 0).pixels, WORLD.draw(1, 1).pixels
    with torch.no_grad():
        logits = [model(**caption_inputs(pixels)).logits[:, -1] for pixels in (one, other)]
    assert (logits[0] - logits[1]).abs().max() > 1e-4


def test_a_description_is_repeatable_and_draws_leave_no_trace(model):
    pixels = WORLD.draw(8, 0).pixels
    assert torch.equal(describe(model, pixels, longest=5), describe(model, pixels, longest=5))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    drawn = [describe(model, pixels, longest=5, sample=True, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert not (drawn[0] == PICTURE).any()


def test_a_rule_gets_the_model_and_its_inputs_and_decides(model):
    pixels = WORLD.draw(2, 0).pixels

    def rule(given, inputs):
        assert given is model and torch.equal(inputs["pixel_values"], pixels)
        return lambda ids, scores: torch.nn.functional.one_hot(torch.full((2,), 6), WORLD.vocabulary).float()

    assert describe(model, pixels, longest=3, rule=rule).tolist() == [[6, 6, 6]] * 2


def test_a_side_that_is_no_multiple_of_a_cell_is_refused():
    with pytest.raises(ValueError, match="cells of 6 pixels, got a side of 20"):
        captioner(8, 20)
