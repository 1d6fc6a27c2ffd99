"""What decimation does to a trained Mamba: its answers on whole texts, and how far back its attention lies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seefar.analysis.hidden_attention import hidden_attention, mean_distance
from seefar.backbones.sequence import SequenceModel
from seefar.evals.far_recall import Taught
from seefar.evals.protocols import Arm, Measure
from seefar.mixers.block import Block, Stack
from seefar.mixers.selective import Mamba
from seefar.synthetic.remote import remote_copy


def at_once(change: Callable[[SequenceModel], SequenceModel]) -> Callable[[nn.Module, Tensor], Tensor]:
    """For ``far_recall.kept``: logits of the changed model over a text in one call, as decimation needs it."""

    def logits(model: nn.Module, ids: Tensor) -> Tensor:
        assert isinstance(model, SequenceModel)
        out: Tensor = change(model)(ids)[0]
        return out

    return logits


def distance_share(model_of: Taught, within: int, *, layer: int = 0, texts: int = 4) -> Arm:
    """Mean distance of the last token's hidden attention in a Mamba layer over the length of the text, by that length.

    Args:
        model_of: seed -> a trained ``SequenceModel``.
        within: the marked symbol stands in so many first tokens.
        layer: block of its column.
        texts: held out.
    """

    def prepared(seed: int) -> Measure:
        model = model_of(seed)

        @torch.inference_mode()
        def share(length: int) -> float:
            assert isinstance(model, SequenceModel) and isinstance(model.column, Stack)
            ids, _ = remote_copy(texts, length // within, within, seed=seed)
            x = model.embed(ids)
            for block in model.column.blocks[:layer]:
                x, _ = block(x)
            block = model.column.blocks[layer]
            if not (isinstance(block, Block) and isinstance(block.mixer, Mamba)):
                raise ValueError(f"distance_share: layer {layer} is no block with a Mamba")
            # the last but one token is the question
            weights = hidden_attention(block.mixer, block.norm(x[:, :-1]), rows=1)
            return float(mean_distance(weights).mean()) / length

        return share

    return prepared
