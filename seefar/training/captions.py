"""Teaching a captioner to describe scenes.

B pictures, L words, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seefar.synthetic.scenes import PAD, Captioned, PairedScenes
from seefar.training.fit import Progress, fit
from seefar.vlm.captioner import caption_inputs, captioner

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration


def caption_loss(model: Any, drawn: Captioned) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy of the next word of the captions; padding does not count."""
    inputs = caption_inputs(drawn.pixels)
    before = inputs["input_ids"].shape[1] - 1
    ids = torch.cat([inputs["input_ids"], drawn.words[:, :-1]], 1)
    logits_BLV = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=drawn.pixels).logits[:, before:]
    return F.cross_entropy(logits_BLV.flatten(0, 1), drawn.words.flatten(), ignore_index=PAD), {}


def train_captioner(
    scenes: PairedScenes, *, steps: int, seed: int, batch: int = 32, lr: float = 4e-3, progress: Progress | None = None
) -> LlavaForConditionalGeneration:
    """A captioner that has seen ``steps`` batches of the scenes, each drawn afresh.

    Args:
        scenes: what it is taught on.
        steps: of training.
        seed: of its first weights and of the scenes.
        batch: pictures a step.
        lr: the highest learning rate.
        progress: called as ``progress("train", step, steps)``.
    """
    torch.manual_seed(seed)
    model = captioner(scenes.vocabulary, scenes.size)
    fit(model, lambda step: scenes.draw(batch, [seed, step]), caption_loss, steps=steps, lr=lr, progress=progress)
    return model
