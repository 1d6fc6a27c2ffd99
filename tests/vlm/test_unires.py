"""UniRes: a picture of tiles is a film of frames, and a slower rope is the one transformers would have made."""

import pytest
import torch
from transformers.image_processing_utils import select_best_resolution

from seefar.embed.patch import Patches
from seefar.vlm.unires import UniRes, cut_tiles, set_rope_base, small_qwen, tile_grid


def reader():
    torch.manual_seed(0)
    return UniRes(Patches(6, 4), small_qwen(30, dim=16, layers=2, heads=2)).double().eval()


def pinpoints(tile, most):
    """As in the released training script: (height, width) there, all grids of 2 to ``most`` tiles."""
    return [(a * tile, b * tile) for a in range(1, most + 1) for b in range(1, most + 1) if 2 <= a * b <= most]


@pytest.mark.parametrize("most", [4, 9, 49])
def test_grids_are_those_that_transformers_chooses_of_the_published_ones(most):
    generator = torch.Generator().manual_seed(most)
    for height, width in torch.randint(20, 3000, (60, 2), generator=generator).tolist():
        best = select_best_resolution((height, width), [(h, w) for w, h in pinpoints(336, most)])
        rows, columns = tile_grid(height, width, 336, most)
        assert (336 * rows, 336 * columns) == tuple(best), (height, width)


def test_a_clip_and_the_same_tiles_as_one_picture_are_the_same_tokens():
    frames = torch.rand(6, 3, 16, 16, dtype=torch.float64)
    picture = torch.cat([torch.cat(list(row), 2) for row in frames.split(3)], 1)  # two rows of three
    tiles = cut_tiles(picture, 16)
    torch.testing.assert_close(tiles, frames, rtol=0, atol=0)
    model = reader()
    film, image = model.see(frames[None]).tokens, model.see(tiles[None]).tokens
    torch.testing.assert_close(image, film, rtol=0, atol=0)
    words = torch.tensor([[3, 4]])
    torch.testing.assert_close(model(tiles[None], words), model(frames[None], words), rtol=0, atol=0)


def test_a_picture_keeps_its_aspect_between_black_bars():
    tiles = cut_tiles(torch.ones(3, 20, 100), 16)
    rows, columns = tile_grid(20, 100, 16)
    assert len(tiles) == rows * columns
    whole = tiles.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).reshape(3, rows * 16, columns * 16)
    filled = whole[0] > 0.5
    assert filled.any(0).sum() / filled.any(1).sum() == pytest.approx(5, abs=0.4)


def test_tokens_are_means_of_two_by_two_after_the_projector_in_one_row():
    model, frames = reader(), torch.rand(1, 2, 3, 16, 16, dtype=torch.float64)
    got = model.see(frames)
    assert got.grid == (2, 2, 2) and got.tokens.shape == (1, 8, 16)
    patches = model.project(model.eye(frames, torch.zeros(2)).tokens).reshape(2, 4, 4, 16)
    pooled = torch.nn.functional.avg_pool2d(patches.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    torch.testing.assert_close(got.tokens[0], pooled.reshape(8, 16), rtol=1e-12, atol=1e-12)


def test_the_row_is_words_then_frames_then_words():
    model, frames = reader(), torch.rand(1, 2, 3, 16, 16, dtype=torch.float64)
    before, after = torch.tensor([[1, 2]]), torch.tensor([[3, 4, 5]])
    embed = model.model.get_input_embeddings()
    row = torch.cat([embed(before), model.see(frames).tokens, embed(after)], 1)
    want = model.model(inputs_embeds=row).logits[:, -3:]
    torch.testing.assert_close(model(frames, after, before), want, rtol=1e-10, atol=1e-10)


def test_a_raised_base_is_the_rope_of_a_model_made_with_it():
    from transformers import Qwen2ForCausalLM

    model = small_qwen(30, dim=16, layers=2, heads=2).eval()
    set_rope_base(model, 1e6, positions=500)
    twin = Qwen2ForCausalLM(model.config).eval()
    twin.load_state_dict(model.state_dict())
    ids = torch.arange(30)[None]
    torch.testing.assert_close(model(ids).logits, twin(ids).logits)
    assert model.config.max_position_embeddings == 500 and model.config.rope_parameters["rope_theta"] == 1e6
    plain = small_qwen(30, dim=16, layers=2, heads=2).eval()
    plain.load_state_dict(model.state_dict())
    assert not torch.allclose(model(ids).logits, plain(ids).logits)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tile_grid(0, 10, 16), "sizes must be positive"),
        (lambda: tile_grid(10, 10, 16, 1), "most at least 2"),
        (lambda: cut_tiles(torch.zeros(3, 8, 8, dtype=torch.uint8), 16), "floats in"),
        (lambda: UniRes(Patches(6, 4), small_qwen(30, dim=16, layers=1, heads=2), pool=0), "at least 1"),
        (lambda: set_rope_base(small_qwen(30, dim=16, layers=1, heads=2), 0), "must be positive"),
    ],
)
def test_what_cannot_be_built_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
