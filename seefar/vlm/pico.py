"""``pico``: the model that ships with seefar. It watches a whole film in constant memory and points at what it answers from.

It knows rendered worlds (coloured shapes, handwritten digits, words on cards, sample photographs), not the real one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from seefar.media.sample import Fps, Sampling, Uniform
from seefar.memory.shortlist import Shortlist
from seefar.sequence import Clip, VisualSequence
from seefar.vlm.answer import Answer, Cost, Model, Moment, Plan, Progress, clock, peak_bytes
from seefar.vlm.pointing import Told, gather_evidence, narrate
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText, Narrator

if TYPE_CHECKING:
    from seefar.media import Video

WEIGHTS = Path(__file__).parent / "weights" / "pico.safetensors"
PER_FRAME, MARGIN, THRESHOLD, LEAST = 4, 2, -1.0, 8
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
        from safetensors import safe_open

        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: pico's weights are missing; reinstall seefar, or make them with: make pico")
        with safe_open(path, "pt") as file:
            words = Words(json.loads(file.metadata()["words"]))
        state = load_file(path)
        eyes, lm = FrameText(len(words)), Narrator(len(words))
        for net, prefix in ((eyes, "eyes."), (lm, "lm.")):
            net.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        return cls(eyes, lm, words)

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
        clock_start = time.perf_counter()
        seconds = {"read": 0.0, "see": 0.0, "choose": 0.0, "answer": 0.0}
        coded = [self.words.encode(question) for question in questions]
        heard = [self._hear(code) for code in coded]
        threshold = THRESHOLD if recipe == "relevance" else float("-inf")
        lists = [
            Shortlist(
                lambda seq, h=h, w=w: self.eyes.relevance(seq.tokens[0], h[None], w[None])[0].amax(0)[None],
                budget, per_frame=per_frame, margin=MARGIN if recipe == "relevance" else 0, threshold=threshold, least=LEAST,
            )
            for h, w in heard
        ]  # fmt: skip
        frames, last = 0, 0.0
        total = None if video.info.duration is None else round(video.info.duration * fps)
        clips = iter(()) if recipe == "blind" else self._clips(video, sampling)
        mark = time.perf_counter()
        for clip in clips:
            seconds["read"] += time.perf_counter() - mark
            mark = time.perf_counter()
            seq = self.eyes.watch(clip.frames, clip.seconds)
            seconds["see"] += time.perf_counter() - mark
            mark = time.perf_counter()
            for shortlist in lists:
                shortlist.write(seq)
            seconds["choose"] += time.perf_counter() - mark
            frames, last = frames + len(clip), float(clip.seconds[-1])
            if progress is not None:
                progress("watch", frames, total if isinstance(sampling, Fps) else None)
            mark = time.perf_counter()
        seconds["read"] += time.perf_counter() - mark
        if frames == 0 and recipe != "blind":
            raise ValueError(f"{video.path}: not one frame could be read")
        patches = self.eyes.grid[0] * self.eyes.grid[1]
        answers = []
        for i, (question, code, (h, w), shortlist) in enumerate(zip(questions, coded, heard, lists, strict=True)):
            mark = time.perf_counter()
            kept = shortlist.read(budget) if recipe != "blind" else self._nothing()
            told = self._tell(code, h, w, kept)
            second = kept.span[0, :, 0]
            moments = [Moment(float(second[t]), float(second[t]), round(p, 4)) for t, p in told.points]
            looked = tuple(second.unique().tolist()) if recipe != "blind" else ()
            spent = {**seconds, "answer": time.perf_counter() - mark, "all questions": time.perf_counter() - clock_start}
            count = int(kept.count[0]) if recipe != "blind" else 0
            answers.append(
                Answer(
                    text=self._phrase(told, [m.start for m in moments]),
                    moments=tuple(sorted(moments, key=lambda m: -m.score)),
                    cost=Cost(frames, len(looked), frames * patches, count, spent, peak_bytes()),
                    model=self.name,
                    question=question,
                    looked=looked,
                    sampling={"asked": {"fps": fps, "recipe": recipe}, "used": {"frames": frames, "last second": last}},
                    warnings=(*self._warnings(question), *video.warnings),
                )
            )
            if progress is not None:
                progress("answer", i + 1, len(questions))
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
            raise ValueError(f"Budget too small: {budget} tokens, one frame takes {per_frame}. Smallest for pico with {recipe}: {per_frame}.")
        return (Fps(fps) if recipe in ("relevance", "blind") else Uniform(budget // per_frame)), per_frame

    def _clips(self, video: Video, sampling: Sampling) -> Iterator[Clip]:
        return iter(video.read(sampling, size=self.eyes.size, chunk=64))

    def _hear(self, code: list[int]) -> tuple[Tensor, Tensor]:
        heard, worth = self.eyes.hear(torch.tensor([code or [self.words.index["<unknown>"]]]))
        return heard[0], worth[0]

    def _nothing(self) -> VisualSequence:
        width = self.eyes.place.shape[1]
        seq = VisualSequence.of_grid(torch.zeros(1, 1, 1, 1, width), torch.zeros(1))
        return VisualSequence(seq.tokens, seq.span, seq.box, seq.mass * 0, seq.segment, seq.mask & False)

    def _tell(self, code: list[int], heard: Tensor, worth: Tensor, kept: VisualSequence) -> Told:
        evidence = gather_evidence(self.eyes, kept, heard, worth)
        return narrate(self.lm, torch.tensor(code or [self.words.index["<unknown>"]]), heard, evidence, self.words.index)

    def _phrase(self, told: Told, points: list[float]) -> str:
        said = [self.words.all[word] for word in told.words]
        when = ", ".join(clock(second) for second in points)
        if said == ["<span>"] and points:
            return f"{points[-1] - points[0]:.0f} seconds, from {clock(points[0])} to {clock(points[-1])}."
        if not said:
            return f"At {when}." if points else "I can't tell."
        text = " ".join(said).capitalize()
        return f"{text} (at {when})." if points else f"{text}."

    def _warnings(self, question: str) -> list[str]:
        unknown = self.words.unknown(question)
        return [LIMITS, *([f"pico does not know: {', '.join(dict.fromkeys(unknown))}."] if unknown else [])]
