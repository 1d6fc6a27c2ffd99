"""The smallest picture describer of the published LLaVA kind: a class of transformers with a small configuration.

Made to be trained in seconds on ``seefar.synthetic.scenes``; whatever works on it works on the real ones.

B pictures, P patches of one, L words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seefar.synthetic.scenes import CELL, END, PAD, PICTURE, START

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

Rule = Callable[[Any, dict[str, Any]], Callable[[Tensor, Tensor], Tensor]]
"""``rule(model, inputs)`` gives a logits processor for one ``generate``."""


def captioner(
    vocabulary: int, size: int, *, dim: int = 48, depth: int = 2, heads: int = 4
) -> LlavaForConditionalGeneration:
    """A vision transformer of one layer, a two-layer projector, and a causal language model of ``depth`` layers.

    Args:
        vocabulary: number of words.
        size: pixels of a side of its pictures, in patches of one cell.
        dim: width of both parts.
        depth: layers of the language model.
        heads: of both parts.

    Reference: Liu et al., LLaVA, arXiv 2304.08485.
    """
    import transformers

    if size % CELL:
        raise ValueError(f"captioner: pictures are made of cells of {CELL} pixels, got a side of {size}")
    both: dict[str, Any] = {"hidden_size": dim, "intermediate_size": 2 * dim, "num_attention_heads": heads}
    vision = transformers.CLIPVisionConfig(**both, num_hidden_layers=1, image_size=size, patch_size=CELL)
    text = transformers.LlamaConfig(
        **both,
        num_hidden_layers=depth,
        num_key_value_heads=heads,
        vocab_size=vocabulary,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=PICTURE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    return transformers.LlavaForConditionalGeneration(config)


def caption_inputs(pixels: Tensor) -> dict[str, Tensor]:
    """What ``forward`` and ``generate`` take for pictures (B, 3, S, S): the places of the patches, then ``START``."""
    patches = (pixels.shape[-1] // CELL) ** 2
    ids = torch.tensor([[PICTURE] * patches + [START]], device=pixels.device).repeat(len(pixels), 1)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


@torch.inference_mode()
def describe(
    model: Any,
    pixels: Tensor,
    *,
    longest: int,
    rule: Rule | None = None,
    sample: bool = False,
    seed: int = 0,
) -> Tensor:
    """The words (B, up to ``longest``) that a captioner generates for pictures.

    Args:
        model: a captioner.
        pixels: (B, 3, S, S).
        longest: words of a caption, ``END`` among them.
        rule: of the decoding; None for the model's own likeliest word.
        sample: draw each word instead of taking the likeliest.
        seed: of the draws.
    """
    inputs = caption_inputs(pixels)
    with torch.random.fork_rng(devices=[pixels.device] if pixels.is_cuda else []):
        torch.manual_seed(seed)
        ids: Tensor = model.generate(
            **inputs,
            max_new_tokens=longest,
            do_sample=sample,
            suppress_tokens=[PICTURE],
            logits_processor=[] if rule is None else [rule(model, inputs)],
        )
    return ids[:, inputs["input_ids"].shape[1] :]
