"""Teaching a language model to find signs in text, and an eye to show them to it: long in words, short in pictures.

B films, N words, Q questions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.synthetic.signs import SIDE, Signs, Told
from seefar.training.fit import Progress, fit
from seefar.vlm.unires import UniRes, small_qwen

SHARPNESS = 0.1
"""Of the choice between words by their distance."""


@dataclass(frozen=True)
class Course:
    """From first words to sight, for one that reads long texts on the way and one that does not.

    Args:
        signs: the world.
        dim: width of the language model.
        short: most words of a text, for all at first and for the short one to the end.
        long: most words of a text for the long one.
        frames: most that a film has in training, for both.
        steps: of first words, of more text, of naming, and of films.
    """

    signs: Signs
    dim: int
    short: int
    long: int
    frames: int
    steps: tuple[int, int, int, int]

    def words(self, seed: int, positions: int, progress: Progress | None = None) -> Any:
        """A language model of two layers after its first words."""
        torch.manual_seed(seed)
        model = small_qwen(self.signs.vocabulary, dim=self.dim, positions=positions)
        steps, seed = self.steps[0], 10 * seed
        teach_text(model, self.signs, self.short, steps=steps, batch=64, questions=8, seed=seed, progress=progress)
        return model

    def text(self, long: bool) -> tuple[int, int, int]:
        """Most words of a text, texts of a step, and questions after each; short text has more words in all."""
        return (self.long, 4, 32) if long else (self.short, 4 * self.long // self.short, 4)

    def sight(self, reader: UniRes, seed: int, *, long: bool, progress: Progress | None = None) -> UniRes:
        """The reader, trained on: text, long or short with as many words and questions at least, then names, films."""
        words, batch, questions = self.text(long)
        _, text, names, films = self.steps
        more: dict[str, Any] = {"batch": batch, "questions": questions, "lr": 2e-3, "progress": progress}
        teach_text(reader.model, self.signs, words, steps=text, seed=10 * seed + 1, **more)
        teach_names(reader, self.signs, steps=names, batch=64, seed=10 * seed + 2, progress=progress)
        seen: dict[str, Any] = {"batch": 32, "questions": 8, "progress": progress}
        teach_sight(reader, self.signs, self.frames, steps=films, seed=10 * seed + 3, **seen)
        return reader


def teach_text(
    model: Any,
    signs: Signs,
    longest: int,
    *,
    steps: int,
    batch: int,
    questions: int,
    seed: int,
    lr: float = 4e-3,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train a causal language model to answer questions about films that are told in words.

    Args:
        model: of transformers, with the vocabulary of the signs.
        signs: the world.
        longest: most words of a film; each step has one length, 8 words at the least.
        steps: of training.
        batch: films of a step.
        questions: after each film.
        seed: of the films.
        lr: the highest learning rate.
        progress: called as ``progress("train", step, steps)``.
    """

    def draw(step: int) -> Told:
        words = text_length(seed, step, longest)
        return signs.draw(batch, words, questions, [seed, step, 1])

    return fit(model, draw, text_loss, steps=steps, lr=lr, progress=progress)


def teach_names(
    reader: UniRes,
    signs: Signs,
    *,
    steps: int,
    batch: int,
    seed: int,
    lr: float = 1e-2,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train the eye and the projector to name the words of single frames; the language model stands still.

    Args:
        reader: sees the frames.
        signs: the world; in these frames six words of ten are signs.
        steps: of training.
        batch: frames of a step.
        seed: of the frames.
        lr: the highest learning rate.
        progress: called as ``progress("train", step, steps)``.

    Differs: LLaVA's first stage, which stands here, lowers the loss of captions through the language model; this one
    goes to its word embeddings directly, since a model this small cannot caption.
    """
    crowded = replace(signs, share=0.6)

    def draw(step: int) -> tuple[Told, Tensor]:
        told = crowded.draw(batch, SIDE**2, 1, [seed, step])
        return told, signs.pictures(told.words, [seed, step, 1])

    return _standing(reader, lambda: fit(reader, draw, name_loss, steps=steps, lr=lr, progress=progress))


def teach_sight(
    reader: UniRes,
    signs: Signs,
    longest: int,
    *,
    steps: int,
    batch: int,
    questions: int,
    seed: int,
    lr: float = 1e-3,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train all of a reader to answer the same questions about films that are shown, each of 1 to ``longest`` frames.

    Args:
        reader: sees the films.
        signs: the world.
        longest: frames.
        steps: of training.
        batch: films of a step.
        questions: after each film.
        seed: of the films.
        lr: the highest learning rate.
        progress: called as ``progress("train", step, steps)``.
    """

    def draw(step: int) -> tuple[Told, Tensor]:
        frames = int(np.random.default_rng([seed, step]).integers(1, longest + 1))
        told = signs.draw(batch, frames * SIDE**2, questions, [seed, step, 1])
        return told, signs.pictures(told.words, [seed, step, 2])

    return fit(reader, draw, sight_loss, steps=steps, lr=lr, progress=progress)


def text_length(seed: int, step: int, longest: int) -> int:
    """Words of the texts of a step, 8 to ``longest``, each as likely."""
    return int(np.random.default_rng([seed, step]).integers(8, longest + 1))


def text_loss(model: Any, told: Told) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy of the answers after a film in words, and the share that is right."""
    asked = told.asked
    logits = model(torch.cat([told.words, asked], 1), use_cache=False, logits_to_keep=asked.shape[1]).logits
    return _score(logits, told)


def name_loss(reader: Any, shown: tuple[Told, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """How far the tokens of frames are from the embeddings of their words: relative squared error, and cross-entropy.

    The cross-entropy takes each token z to its word among all: softmax over words w of -0.1 |z - e_w|^2 / s^2 for
    embeddings e whose entries have the mean square s^2.
    """
    told, frames = shown
    tokens_BND, table_VD = reader.see(frames).tokens, reader.model.get_input_embeddings().weight.detach()
    scale = table_VD[told.words].square().mean()
    off = (tokens_BND - table_VD[told.words]).square().mean() / scale
    logits = -SHARPNESS / scale * torch.cdist(tokens_BND, table_VD[None]).square()
    right = (logits.argmax(-1) == told.words).float().mean()
    return F.cross_entropy(logits.flatten(0, 1), told.words.flatten()) + off, {
        "right": float(right),
        "off": float(off.detach()),
    }


def sight_loss(reader: nn.Module, shown: tuple[Told, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """The same after a film in pictures."""
    told, frames = shown
    return _score(reader(frames, told.asked), told)


def _standing(reader: UniRes, train: Callable[[], list[dict[str, float]]]) -> list[dict[str, float]]:
    """Train with the language model as it is."""
    learnt = [weight for weight in reader.model.parameters() if weight.requires_grad]
    for weight in learnt:
        weight.requires_grad_(False)
    try:
        return train()
    finally:
        for weight in learnt:
            weight.requires_grad_(True)


def _score(logits: Tensor, told: Told) -> tuple[Tensor, dict[str, float]]:
    answers = logits[:, 1::3]  # at the name, where the colour comes next
    right = (answers.argmax(-1) == told.answers).float().mean()
    return F.cross_entropy(answers.flatten(0, 1), told.answers.flatten()), {"right": float(right)}
