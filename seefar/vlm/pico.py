"""``pico``, the model that ships with seefar: watches a whole film in constant memory, points at what it answers from.

It knows rendered worlds (coloured shapes, handwritten digits, words on cards, sample photographs), not the real one.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from seefar.media.sample import Fps, Uniform
from seefar.memory.shortlist import Shortlist
from seefar.sequence import VisualSequence
from seefar.vlm.answer import Answer, Cost, Model, Moment, Plan, Progress, clock, peak_bytes
from seefar.vlm.eyes import WEIGHTS, load_eyes, weights_of, words_of
from seefar.vlm.pointing import Told, as_asked, gather_evidence, narrate
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText, Narrator

if TYPE_CHECKING:
    from seefar.media import Video

PER_FRAME, MARGIN, THRESHOLD, LEAST = 3, 2, -4.0, 8
"""How ``pico`` chooses what its language model sees; its weights were trained with these."""
RECIPES = ("relevance", "uniform", "uniform-patches", "blind")
LIMITS = "pico knows rendered worlds (coloured shapes, digits, words on cards, sample photographs), not the real one."


class Pico(Model):
    """Two networks of under two million weights together: one chooses what to look at, the other answers from it.

    Recipes:
        relevance: every sampled frame is scored against the question; only what is relevant is kept, up to the budget.
        uniform: whole frames evenly spaced over the film, as many as the budget holds.
        uniform-patches: evenly spaced frames, of each the patches that speak most for the question.
        blind: no frame at all; what the question alone gives away.
    """

    name = "pico"

    def __init__(self, eyes: FrameText, lm: Narrator, words: Words):
        self.eyes, self.lm, self.words = eyes.eval(), lm.eval(), words

    @classmethod
    def load(cls, path: str | Path = WEIGHTS) -> Pico:
        """The shipped model, or one that ``save`` wrote."""
        eyes, words = load_eyes(path)
        lm = Narrator(len(words))
        lm.load_state_dict(weights_of(path, "lm"))
        return cls(eyes, lm, words)

    @classmethod
    def outline(cls, path: str | Path = WEIGHTS) -> Pico:
        """The model without its weights: all that ``plan`` needs."""
        words = words_of(path)
        with torch.device("meta"):
            return cls(FrameText(len(words)), Narrator(len(words)), words)

    def save(self, path: str | Path) -> None:
        """Both networks and the vocabulary as one safetensors file."""
        from seefar.vlm.text import SPECIAL

        state = {f"eyes.{k}": v for k, v in self.eyes.state_dict().items()}
        state |= {f"lm.{k}": v for k, v in self.lm.state_dict().items()}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_file(state, path, metadata={"words": json.dumps(self.words.all[len(SPECIAL) :]), "kind": "pico"})

    @torch.inference_mode()
    def answer(
        self,
        video: Video,
        questions: Sequence[str],
        *,
        budget: int = 4096,
        fps: float = 1.0,
        recipe: str | None = None,
        progress: Progress | None = None,
    ) -> list[Answer]:
        """One answer for each question from one pass over the film; memory does not grow with its length.

        Raises:
            ValueError: an unknown recipe, or a budget smaller than one frame of it.
        """
        recipe = recipe or "relevance"
        sampling, per_frame = self._sampling(recipe, budget, fps)
        heard = [self._hear(question) for question in questions]
        lists = [self._shortlist(question, recipe, budget, per_frame) for question in heard]
        seconds = {"read": 0.0, "see": 0.0, "choose": 0.0}
        frames = 0
        expected = None if video.info.duration is None else round(video.info.duration * fps)
        mark = time.perf_counter()
        for clip in () if recipe == "blind" else video.read(sampling, size=self.eyes.size, chunk=16):
            marks = [mark, time.perf_counter()]
            seq = self.eyes.watch(clip.frames, clip.seconds)
            marks.append(time.perf_counter())
            for shortlist in lists:
                shortlist.write(seq)
            mark = time.perf_counter()
            for stage, (start, end) in zip(seconds, itertools.pairwise([*marks, mark]), strict=True):
                seconds[stage] += end - start
            frames += len(clip)
            if progress is not None:
                progress("watch", frames, expected if isinstance(sampling, Fps) else sampling.count)
        seconds["read"] += time.perf_counter() - mark
        if frames == 0 and recipe != "blind":
            raise ValueError(f"{video.path}: not one frame could be read")
        answers = []
        for question, ear, shortlist in zip(questions, heard, lists, strict=True):
            mark = time.perf_counter()
            kept = self._nothing() if recipe == "blind" else shortlist.read(budget)
            second = kept.span[0, :, 0]
            evidence = gather_evidence(self.eyes, kept, *ear[1:])
            told = narrate(self.lm, *ear[:2], evidence, self.words.index, second_K=second)
            told = as_asked(told, question, evidence.names_BKN[0], self.words)
            moments = [Moment(float(second[t]), float(second[t]), round(p, 4)) for t, p in told.points]
            looked = tuple(second[kept.mask[0]].unique().tolist())
            spent = {**seconds, "answer": time.perf_counter() - mark}
            seen, count = frames * self.eyes.grid[0] * self.eyes.grid[1], int(kept.count[0])
            answers.append(
                Answer(
                    text=self._phrase(told, [moment.start for moment in moments]),
                    moments=tuple(sorted(moments, key=lambda moment: -moment.score)),
                    cost=Cost(frames, len(looked), seen, count, spent, peak_bytes()),
                    model=self.name,
                    question=question,
                    looked=looked,
                    sampling={"asked": {"fps": fps, "recipe": recipe}, "used": {"frames": frames}},
                    warnings=(*self._warnings(question), *video.warnings),
                )
            )
            if progress is not None:
                progress("answer", len(answers), len(questions))
        return answers

    def plan(self, duration: float, *, budget: int = 4096, fps: float = 1.0, recipe: str | None = None) -> Plan:
        """What a film of ``duration`` seconds takes at most: the relevance recipe spends only what is relevant."""
        recipe = recipe or "relevance"
        sampling, per_frame = self._sampling(recipe, budget, fps)
        asked = round(duration * fps) if isinstance(sampling, Fps) else sampling.count
        kept = min(asked, budget // per_frame)
        tokens = 0 if recipe == "blind" else kept * per_frame
        weights = sum(p.numel() * 4 for net in (self.eyes, self.lm) for p in net.parameters())
        depth, dim = len(self.lm.stack.blocks), self.lm.word.embedding_dim
        expected = {"read and see": asked / 500, "answer": 0.1 + tokens / 4000}
        return Plan(self.name, recipe, asked, tokens, 2 * depth * dim * 4 * (tokens + 32), weights, expected, (LIMITS,))

    def _sampling(self, recipe: str, budget: int, fps: float) -> tuple[Fps | Uniform, int]:
        if recipe not in RECIPES:
            raise ValueError(f"pico has no recipe {recipe!r}; it knows {', '.join(RECIPES)}")
        patches = self.eyes.grid[0] * self.eyes.grid[1]
        per_frame = patches if recipe == "uniform" else PER_FRAME
        if not isinstance(budget, int) or budget < per_frame:
            raise ValueError(
                f"Budget too small: {budget} tokens. Smallest for pico with {recipe}: {per_frame}, for one frame."
            )
        return (Fps(fps) if recipe in ("relevance", "blind") else Uniform(budget // per_frame)), per_frame

    def _hear(self, question: str) -> tuple[Tensor, Tensor, Tensor]:
        """Word numbers, words in context and what each is worth; an empty question is one unknown word."""
        code = torch.tensor(self.words.encode(question) or [self.words.index["<unknown>"]])
        heard, worth = self.eyes.hear(code[None])
        return code, heard[0], worth[0]

    def _shortlist(self, ear: tuple[Tensor, Tensor, Tensor], recipe: str, budget: int, per_frame: int) -> Shortlist:
        _, heard, worth = ear

        def relevance(seq: VisualSequence) -> Tensor:
            return self.eyes.relevance(seq.tokens[0], heard[None], worth[None]).amax(1)

        def pick(seq: VisualSequence, relevance_TP: Tensor, keep: int) -> Tensor:
            return self.eyes.pick(seq.tokens[0].reshape(*relevance_TP.shape, -1), relevance_TP, keep)

        if recipe == "relevance":
            return Shortlist(
                relevance, budget, per_frame=per_frame, margin=MARGIN, threshold=THRESHOLD, least=LEAST, pick=pick
            )
        return Shortlist(relevance, budget, per_frame=per_frame, margin=0, pick=pick)

    def _nothing(self) -> VisualSequence:
        width = self.eyes.place.shape[1]
        seq = VisualSequence.of_grid(torch.zeros(1, 1, 1, 1, width), torch.zeros(1))
        return VisualSequence(seq.tokens, seq.span, seq.box, seq.mass * 0, seq.segment, seq.mask & False)

    def _phrase(self, told: Told, points: list[float]) -> str:
        said = [self.words.all[word] for word in told.words]
        when = ", ".join(clock(second) for second in points)
        if said == ["<span>"] and points:
            if points[-1] <= points[0]:  # no stay ends before it began
                return f"I can't tell how long; it is seen at {when}."
            return f"{points[-1] - points[0]:.0f} seconds, from {clock(points[0])} to {clock(points[-1])}."
        if not said:
            return f"At {when}." if points else "I can't tell."
        text = " ".join(said).capitalize()
        return f"{text} (at {when})." if points else f"{text}."

    def _warnings(self, question: str) -> list[str]:
        unknown = self.words.unknown(question)
        return [LIMITS, *([f"pico does not know: {', '.join(dict.fromkeys(unknown))}."] if unknown else [])]
