"""The dual encoder that ships inside ``pico``, by itself: how much each token of a film speaks for a question."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from seefar.sequence import VisualSequence
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText

WEIGHTS = Path(__file__).parent / "weights" / "pico.safetensors"


def words_of(path: str | Path = WEIGHTS) -> Words:
    """The vocabulary in the header of a file of ``pico``.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: pico's weights are missing; reinstall seefar, or make them with: make pico")
    with safe_open(path, "pt") as file:
        return Words(json.loads(file.metadata()["words"]))


def weights_of(path: str | Path, network: str) -> dict[str, Tensor]:
    """The weights of one network, "eyes" or "lm", in a file of ``pico``; those of the other are not read."""
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(f"{network}.")]  # noqa: SIM118 (a file is no mapping)
        return {name.removeprefix(f"{network}."): file.get_tensor(name) for name in names}


def load_eyes(path: str | Path = WEIGHTS) -> tuple[FrameText, Words]:
    """The dual encoder of a file of ``pico`` and its vocabulary; the language model in it is not read."""
    words = words_of(path)
    eyes = FrameText(len(words))
    eyes.load_state_dict(weights_of(path, "eyes"))
    return eyes.eval().requires_grad_(False), words


class Asked:
    """The relevance of tokens that ``eyes.watch`` made, to one question; an object that selectors are given.

    ``score_n = max_l (s <t_l, v_n> / sqrt(D) + b(t_l))`` over the words l of the question: a logit.

    Raises:
        ValueError: the question has no word.
    """

    def __init__(self, eyes: FrameText, words: Words, question: str) -> None:
        code = words.encode(question)
        if not code:
            raise ValueError(f"Asked: a question needs at least one word, got {question!r}")
        self.eyes, self.question = eyes, question
        self.heard, self.worth = eyes.hear(torch.tensor([code], device=eyes.place.device))

    def __call__(self, seq: VisualSequence, query: Tensor | None = None) -> Tensor:
        """(B, N) logits; the query is the question given at the start, so ``query`` is not used."""
        each = self.eyes.relevance(seq.tokens.flatten(0, 1), self.heard, self.worth)
        return each.amax(1).reshape(seq.mask.shape)
