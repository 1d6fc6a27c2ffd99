"""Choosing the next word by comparing what a model says of a picture with what it says of another view of it.

B batch, L tokens so far, V words.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from seefar.decoding.views import Inputs, View


class ContrastiveDecoder:
    """Says what the picture supports, by weighing the model's logits against those it has for other views.

    s = w_0 l + sum_i w_i l_i,    s(y) = -inf where l(y) < max l + log beta

    l are the logits that ``generate`` made, l_i those of the same model for view i and the same answer so far. Weights
    (1 + a, -a) contrast (subtract what would be said anyway), (1, a) complement. The cutoff asks the model itself, so
    that contrasting never promotes a word that it finds implausible.

    Pass it in ``logits_processor=[...]`` of the ``generate`` of any Hugging Face model, greedy or sampling; it then
    comes after penalties and before temperature, top-k and top-p. Each view runs with a key-value cache of its own, one
    token a step, and the model's own bookkeeping of masks and positions. It starts again when the prompt does.

    Args:
        model: the one that generates.
        inputs: what ``generate`` is given, one row for each row of the answer.
        views: each makes the inputs of one more run; called once for each answer.
        weights: of the model itself, above 0, and of each view.
        beta: least share of the likeliest word's probability that a word needs; 0 cuts nothing, 1 leaves the likeliest.

    Raises:
        ValueError: beta outside [0, 1], weights and views that do not fit, inputs without ids or a batch without its
            mask; when called: beams, or any generation that does not append one token after another to its rows.

    Reference: Leng et al., VCD, arXiv 2311.16922; cutoff of Li et al., Contrastive Decoding, arXiv 2210.15097.
    Differs: penalties come before the contrast, not after it. The authors' loop of 2023 gave the view the main run's
    cache from the second token on; as in theirs since July 2024, the view's run is its own throughout.
    """

    def __init__(
        self, model: Any, inputs: Inputs, views: Sequence[View], weights: Sequence[float], *, beta: float = 0.1
    ) -> None:
        if not 0 <= beta <= 1:
            raise ValueError(f"ContrastiveDecoder: beta is a share in [0, 1], got {beta}")
        if not views or len(weights) != len(views) + 1:
            raise ValueError(
                f"ContrastiveDecoder: one weight for the model and one for each view, got {len(weights)} weights for "
                f"{len(views)} views; (1 + a, -a) contrasts with one"
            )
        if weights[0] <= 0:
            raise ValueError(f"ContrastiveDecoder: the model's own weight must be above 0, got {tuple(weights)}")
        if inputs.get("input_ids") is None:
            raise ValueError(f"ContrastiveDecoder: inputs need input_ids, got {sorted(inputs)}")
        if len(inputs["input_ids"]) > 1 and inputs.get("attention_mask") is None:
            raise ValueError("ContrastiveDecoder: a batch needs its attention_mask, as the model's processor gives it")
        self.model, self.inputs, self.views = model, inputs, tuple(views)
        self.weights, self.beta = tuple(weights), beta
        self.prompt: Tensor = inputs["input_ids"]
        self.runs: list[_Run] = []
        self.past = self.prompt[:, :0]

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The next token's scores (B, V) for the rows (B, L) so far."""
        mixed = self.weights[0] * scores
        for weight, logits in zip(self.weights[1:], self._follow(input_ids), strict=True):
            mixed = mixed + weight * logits.to(scores)
        if self.beta == 0:
            return mixed
        least = scores.amax(-1, keepdim=True) + math.log(self.beta)
        return mixed.masked_fill(scores < least, float("-inf"))

    def _follow(self, ids: Tensor) -> list[Tensor]:
        """Bring every view's run up to these rows; its logits for what comes next."""
        if len(ids) != len(self.prompt):
            raise ValueError(
                f"ContrastiveDecoder: {len(self.prompt)} rows of inputs, but {len(ids)} are generated; beams are not "
                "supported (num_beams=1), and for num_return_sequences repeat the inputs instead"
            )
        if torch.equal(ids, self.prompt.to(ids.device)):
            self.runs = [_Run(self.model, view(self.inputs)) for view in self.views]
        elif len(self.runs) and ids.shape[1] == self.past.shape[1] + 1 and torch.equal(ids[:, :-1], self.past):
            for run in self.runs:
                run.step(ids[:, -1:])
        else:
            raise ValueError(
                f"ContrastiveDecoder: the rows do not go on from those before; it follows one generation from the "
                f"{self.prompt.shape[1]} tokens of its inputs, one token a step (no beams, no assistant model)"
            )
        self.past = ids
        return [run.logits for run in self.runs]


class _Run:
    """The model on other inputs, kept in step with the answer; it does what ``generate`` does between two tokens."""

    def __init__(self, model: Any, inputs: Inputs) -> None:
        self.model = model
        self.state: dict[str, Any] = {**inputs, "use_cache": True}
        self.ids: Tensor = self.state.pop("input_ids")
        takes = inspect.signature(model.forward).parameters
        if self.state.get("attention_mask") is None:
            self.state["attention_mask"] = torch.ones_like(self.ids)
        if "logits_to_keep" in takes:
            self.state["logits_to_keep"] = 1
        if "position_ids" in takes and self.state.get("position_ids") is None:
            with _rope_deltas_restored(model):
                self.state["position_ids"] = model._prepare_position_ids_for_generation(self.ids, self.state)
        self._forward(None, is_first_iteration=True)

    def step(self, ids: Tensor) -> None:
        """Read the next token of every row (B, 1)."""
        self.ids = torch.cat([self.ids, ids.to(self.ids)], 1)
        self._forward(1)

    def _forward(self, new: int | None, **how: bool) -> None:
        fed = self.model.prepare_inputs_for_generation(self.ids, next_sequence_length=new, **how, **self.state)
        with _rope_deltas_restored(self.model):
            out = self.model(**fed, return_dict=True)
        self.state = self.model._update_model_kwargs_for_generation(out, self.state)
        self.logits: Tensor = out.logits[:, -1]


@contextmanager
def _rope_deltas_restored(model: Any) -> Iterator[None]:
    """Qwen's models keep on themselves how far the last prompt moved their positions; that stays the main run's."""
    before = [(module, module.rope_deltas) for module in model.modules() if hasattr(module, "rope_deltas")]
    try:
        yield
    finally:
        for module, deltas in before:
            module.rope_deltas = deltas
