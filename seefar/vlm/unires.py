"""One way of seeing for pictures and films: a large picture is cut into tiles, which are read as the frames of a film.

B films, T frames or tiles, C colour channels, P tokens of a frame, L words, D channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.embed.base import Embed
from seefar.sequence import VisualSequence

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM


def tile_grid(height: int, width: int, tile: int, most: int = 49) -> tuple[int, int]:
    """Rows and columns of tiles for a picture: 2 to ``most`` tiles, where it keeps the most pixels and wastes fewest.

    A picture is scaled to fit the tiles with its aspect kept. Pixels beyond its own count for nothing; where as many
    are kept, the grid with the smallest empty area wins, then the one with fewer columns, then with fewer rows.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        tile: side of a tile.
        most: tiles.

    Raises:
        ValueError: a size below 1, or room for fewer than two tiles.

    Reference: Zhang et al., LongVA, arXiv 2406.16852; the rule is LLaVA-NeXT's.
    """
    if min(height, width, tile) < 1 or most < 2:
        raise ValueError(
            f"tile_grid: sizes must be positive and most at least 2, got {height=}, {width=}, {tile=}, {most=}"
        )

    def worth(grid: tuple[int, int]) -> tuple[int, int]:
        high, wide = grid[0] * tile, grid[1] * tile
        scale = min(wide / width, high / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - wide * high

    grids = [(rows, columns) for columns in range(1, most + 1) for rows in range(1, most // columns + 1)]
    return max((grid for grid in grids if grid != (1, 1)), key=worth)


def cut_tiles(image: Tensor, tile: int, most: int = 49) -> Tensor:
    """A picture (C, H, W) as tiles (T, C, tile, tile) in raster order: fitted to its ``tile_grid``, the rest black.

    Raises:
        ValueError: no float picture.

    Differs: resized by PyTorch's bicubic filter with antialiasing, not by Pillow's on whole numbers.
    """
    if image.ndim != 3 or not image.is_floating_point():
        raise ValueError(f"cut_tiles: a picture is (C, H, W) floats in [0, 1], got {tuple(image.shape)} {image.dtype}")
    H, W = image.shape[1:]
    rows, columns = tile_grid(H, W, tile, most)
    high, wide = rows * tile, columns * tile
    low, narrow = min(-(-H * wide // W), high), min(-(-W * high // H), wide)
    fit = (low, wide) if wide / W < high / H else (high, narrow)
    if fit != (H, W):
        image = F.interpolate(image[None], fit, mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (high - fit[0]) // 2, (wide - fit[1]) // 2
    image = F.pad(image, (left, wide - fit[1] - left, top, high - fit[0] - top))
    return image.unflatten(1, (rows, tile)).unflatten(3, (columns, tile)).permute(1, 3, 0, 2, 4).flatten(0, 1)


class UniRes(nn.Module):
    """A language model that sees: every frame alone, its tokens averaged by 2 x 2, all in one row with no mark between.

    tokens = mean_{2 x 2}(W_2 gelu(W_1 eye(frame))),    row = words before | frame 1 | frame 2 | ... | words after

    Places are those of words, one after another. A picture goes the same way as its tiles (``cut_tiles``), so that a
    model trained on pictures reads a film of as many frames, and what its language model can do with long text it can
    do with long film.

    Args:
        eye: pixels to a raster of tokens, such as ``ConvPatches``.
        model: a causal language model of transformers.
        pool: side of the squares that are averaged.

    Reference: Zhang et al., LongVA, arXiv 2406.16852. Differs: no overview of a picture goes before its tiles (the
    released code makes one and drops it); squares at the edge of an odd raster are averaged, not cut off.
    """

    def __init__(self, eye: Embed, model: Any, *, pool: int = 2) -> None:
        super().__init__()
        if pool < 1:
            raise ValueError(f"UniRes: pool is the side of a square of tokens, at least 1, got {pool}")
        dim = int(model.config.get_text_config().hidden_size)
        self.pool = pool
        self.eye = eye
        self.project = nn.Sequential(nn.Linear(eye.dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.model = model

    def see(self, frames: Tensor) -> VisualSequence:
        """The tokens of frames, or tiles, (B, T, C, H, W), one second each."""
        seen = self.eye(frames, torch.arange(frames.shape[1], dtype=torch.float64))
        return seen.map(self.project).pool((1, self.pool, self.pool))

    def forward(self, frames: Tensor, words: Tensor, before: Tensor | None = None) -> Tensor:
        """Logits (B, L, V) at the ``words`` (B, L) after the frames; ``before`` (B, .) are words ahead of them."""
        embed = self.model.get_input_embeddings()
        parts = [] if before is None else [embed(before)]
        row = torch.cat([*parts, self.see(frames).tokens, embed(words)], 1)
        logits: Tensor = self.model(inputs_embeds=row, use_cache=False, logits_to_keep=words.shape[1]).logits
        return logits


def set_rope_base(model: Any, base: float, positions: int | None = None) -> None:
    """Give a language model of transformers slower rotary angles, in place; train it on long text next.

    Pair i of a head turns by base^(-2i/d) radians a token: with a larger base fewer angles are new at places that
    training never reached. Weights stay.

    Args:
        model: a causal language model with plain rotary positions (Qwen2, Llama, ...).
        base: the new one; Qwen2 has 1e6, LongVA's language model 1e9.
        positions: that the model says it can read from now on; None leaves the number.

    Raises:
        ValueError: the base is not positive, positions below 1, or a model whose rotary positions are not plain.

    Reference: Zhang et al., LongVA, arXiv 2406.16852; Xiong et al., arXiv 2309.16039.
    """
    if base <= 0 or (positions is not None and positions < 1):
        raise ValueError(f"set_rope_base: base and positions must be positive, got {base} and {positions}")
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    rotary = [module for module in model.modules() if hasattr(module, "original_inv_freq")]
    if rope.get("rope_type") != "default" or not rotary:
        raise ValueError(f"set_rope_base: {type(model).__name__} has no plain rotary positions, its config says {rope}")
    config.rope_parameters = {**rope, "rope_theta": float(base)}
    if positions is not None:
        config.max_position_embeddings = positions
    for module in rotary:
        fresh, module.attention_scaling = module.compute_default_rope_parameters(config)
        for buffer in (module.inv_freq, module.original_inv_freq):
            buffer.copy_(fresh)


def small_qwen(
    vocabulary: int, *, dim: int = 64, layers: int = 2, heads: int = 4, positions: int = 128
) -> Qwen2ForCausalLM:
    """A Qwen2 of random weights, its matrices drawn wide enough (deviation 0.1) to learn in minutes.

    Args:
        vocabulary: number of words.
        dim: width, a multiple of ``heads``.
        layers: of attention and MLP.
        heads: of each layer.
        positions: that it says it can read.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=dim,
        intermediate_size=2 * dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=positions,
        initializer_range=0.1,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None,
        eos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    # narrow embeddings, so that what is learnt of a word soon outweighs what was drawn
    nn.init.normal_(model.model.embed_tokens.weight, std=0.02)
    return model
