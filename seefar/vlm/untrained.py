"""A real class of transformers in a small size with drawn weights: for what can be measured before any training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seefar.sequence import VisualSequence
from seefar.vlm.families import family_of

WORDS = 98


def untrained_onevision(width: int, *, layers: int = 28, seed: int = 0) -> Any:
    """LLaVA-OneVision (arXiv 2408.03326) on a narrow Qwen2 with weights drawn at random, attention written out.

    Four heads of queries on two of keys, an MLP four times as wide, a vocabulary of ``WORDS`` words and two
    placeholders. The vision tower is there but tiny; features are meant to be given.

    Args:
        width: of a token, a multiple of 8.
        layers: of the language model; the 7B has 28.
        seed: of the weights; the global generator is left as it was.

    Raises:
        ValueError: the width is no positive multiple of 8.
    """
    if width < 8 or width % 8:
        raise ValueError(f"untrained_onevision: width must be a positive multiple of 8, got {width}; try 64")
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": 4}
    tower = {**sizes, "num_hidden_layers": 1, "image_size": 16, "patch_size": 8, "vision_use_head": False}
    text = {**sizes, "num_key_value_heads": 2, "num_hidden_layers": layers, "vocab_size": WORDS + 2}
    config = LlavaOnevisionConfig(
        text_config={**text, "model_type": "qwen2", "bos_token_id": None, "eos_token_id": None},
        vision_config={**tower, "model_type": "siglip_vision_model"},
        image_token_index=WORDS,
        video_token_index=WORDS + 1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaOnevisionForConditionalGeneration(config)
    model.set_attn_implementation("eager")
    return model.eval()


def between_words(model: Any, seq: VisualSequence, before: int, after: int) -> tuple[dict[str, Any], Tensor]:
    """What to call the model with for the first row's real tokens between so many arbitrary words, and their places.

    Returns:
        Keyword arguments for ``model(...)`` or ``model.generate(...)``, for one use, and the (N,) slots.

    Raises:
        ValueError: a count is negative.
    """
    if before < 0 or after < 0:
        raise ValueError(f"between_words: counts must be at least 0, got {before} and {after}")
    family, rows = family_of(model.config, {}), seq.tokens[0, seq.mask[0]]
    film = torch.full((len(rows),), family.token_id)
    ids = torch.cat([torch.arange(before) % WORDS, film, torch.arange(after) % WORDS])[None]
    given = {"input_ids": ids, "mm_encoder_outputs": {family.modality: family.outputs(rows)}}
    return given, before + torch.arange(len(rows))
