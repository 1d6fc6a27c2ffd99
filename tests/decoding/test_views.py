"""Views are what was published, drawn once, and refuse what they cannot view."""

import pytest
import torch
from torch.testing import assert_close

from seefar.decoding import diffusion_noise, kept_share, text_only


def test_the_noise_schedule_is_the_published_one():
    rates = torch.sigmoid(torch.linspace(-6, 6, 1000)) * (0.5e-2 - 1e-5) + 1e-5
    table = torch.cumprod(1 - rates, 0)
    assert_close(torch.tensor([kept_share(t) for t in range(0, 1000, 37)]), table[::37], rtol=1e-4, atol=1e-6)
    assert round(kept_share(500), 3) == 0.745 and round(kept_share(999), 4) == 0.0812
    assert round(kept_share(500) ** 0.5, 3) == 0.863 and round(kept_share(999) ** 0.5, 3) == 0.285


def test_noise_keeps_the_share_of_the_picture_that_it_says_and_the_variance():
    pixels = torch.randn(4, 3, 64, 64)
    noisy = diffusion_noise(800)({"pixel_values": pixels})["pixel_values"]
    assert float((noisy * pixels).mean()) == pytest.approx(kept_share(800) ** 0.5, abs=0.02)
    assert float(noisy.var()) == pytest.approx(1, abs=0.03)


def test_noise_is_the_same_each_time_and_another_with_another_seed():
    inputs = {"pixel_values": torch.zeros(2, 3, 8, 8), "pixel_values_videos": torch.zeros(1, 3, 8, 8)}
    view = diffusion_noise(500, seed=7)
    first, second = view(inputs), view(inputs)
    for name in inputs:
        assert torch.equal(first[name], second[name])
        assert not torch.equal(first[name], diffusion_noise(500, seed=8)(inputs)[name])
    assert not torch.equal(first["pixel_values"][0], first["pixel_values"][1])
    assert not inputs["pixel_values"].any(), "the inputs themselves are left as they were"


def test_noise_passes_on_all_else():
    ids = torch.tensor([[1, 2]])
    out = diffusion_noise(0)({"input_ids": ids, "image_sizes": "kept", "pixel_values": torch.zeros(1, 3, 2, 2).half()})
    assert out["input_ids"] is ids and out["image_sizes"] == "kept" and out["pixel_values"].dtype == torch.half


def test_text_alone_keeps_the_words_in_order_and_pads_at_the_left():
    ids = torch.tensor([[5, 9, 9, 9, 6, 7], [0, 4, 9, 3, 9, 8]])
    out = text_only(9)({"input_ids": ids, "attention_mask": (ids != 0).long(), "pixel_values": 1, "position_ids": ids})
    assert sorted(out) == ["attention_mask", "input_ids"]
    assert out["input_ids"][out["attention_mask"].bool()].tolist() == [5, 6, 7, 4, 3, 8]
    longer = torch.tensor([[5, 9, 6, 7, 8], [9, 9, 9, 6, 7]])
    out = text_only(9)({"input_ids": longer})
    assert out["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert out["input_ids"][1, 2:].tolist() == [6, 7]


@pytest.mark.parametrize(
    ("view", "inputs", "says"),
    [
        (
            diffusion_noise(500),
            {"input_ids": torch.zeros(1, 2)},
            r"a picture is needed .* the inputs hold \['input_ids'\]",
        ),
        (diffusion_noise(500), {"pixel_values": torch.zeros(1, 3, 4, 4, dtype=torch.int8)}, "int8.*normalised pixels"),
        (text_only(9), {"input_ids": torch.tensor([[1, 2]])}, "none of the tokens"),
        (text_only(9), {"input_ids": torch.tensor([[1, 9], [9, 9]])}, "row 1 of the prompt holds no text"),
    ],
)
def test_what_cannot_be_viewed_is_refused(view, inputs, says):
    with pytest.raises(ValueError, match=says):
        view(inputs)


def test_views_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="steps 0 to 999, got 1000"):
        diffusion_noise(1000)
    with pytest.raises(ValueError, match="image_token_id"):
        text_only()
