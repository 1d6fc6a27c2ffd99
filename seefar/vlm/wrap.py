"""A vision-language model of transformers as a seefar model: a budget, true times, moments; nothing is patched."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seefar.compress.base import Compressor
from seefar.sequence import Clip, VisualSequence
from seefar.vlm.answer import Answer, Cost, Model, Plan, Progress, peak_bytes
from seefar.vlm.families import Family, Shown, family_of
from seefar.vlm.hf_folder import Processing, prompt_ids, read_config, read_processing
from seefar.vlm.hf_moments import Listening, moments_of
from seefar.vlm.plan import MAX_FRAMES, NEW_TOKENS, Frames, choose_frames, plan_config, step_seconds
from seefar.vlm.recipes import Identity, Recipe
from seefar.vlm.recipes import recipe as recipe_named

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from seefar.media import Video


@dataclass(frozen=True)
class Seen:
    """A film as the vision tower saw it, encoded once for any number of questions.

    Args:
        seq: every token with its seconds and its box. frames: how many were decoded.
    """

    seq: VisualSequence
    shown: Shown
    frames: int
    duration: float
    sampling: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Prompt:
    """A question with a film's tokens, ready for ``model(**prompt.inputs())`` or ``model.generate(**prompt.inputs())``.

    Args:
        kept: the film's tokens that reach the language model, with span, box and mass, in the order of their
            placeholders.
        slots: (N,) their places in the prompt.
        inputs: makes the keyword arguments; call it for each use, because ``generate`` edits what it is given.
    """

    kept: VisualSequence
    slots: Tensor
    inputs: Callable[[], dict[str, Any]]


class WrappedModel(Model):
    """A vision-language model of transformers that answers about films of any length inside a budget of visual tokens.

    Frames go through the model's own vision tower in chunks, become a ``VisualSequence``, are compressed to the budget,
    and enter the language model through its public ``mm_encoder_outputs``, under placeholders, positions and frame
    labels that fit what was kept. ``model`` stays what it was. Features are held for at most ``max_frames`` frames at a
    time, so memory does not grow with the film. Moments come from hidden states (see ``hf_moments.Listening.scores``).

    Args:
        model: the ...ForConditionalGeneration.
        processing: its tokenizer, template and pixel settings.
        compress: a compressor or the name of a recipe, used where ``answer`` is given no recipe; None keeps all tokens
            of as many frames as fit.
        name: how answers call it.
        chunk: frames encoded at a time.
        positions: for families with positions in time, row and column: "published", or "transformers" for what 5.23
            does.

    Raises:
        ValueError: the model type has no adapter, or this transformers lacks ``mm_encoder_outputs`` for it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processing: Processing,
        *,
        compress: Compressor | str | None = None,
        name: str | None = None,
        max_frames: int = MAX_FRAMES,
        chunk: int = 16,
        max_new_tokens: int = NEW_TOKENS,
        positions: str = "published",
    ) -> None:
        self.family: Family = family_of(model.config, processing.settings)
        check_seam(model)
        if max_frames < 1 or chunk < 1:
            raise ValueError(f"WrappedModel: max_frames and chunk must be positive, got {max_frames} and {chunk}")
        self.model: Any = model
        self.processing = processing
        self.recipe = Recipe.of(compress) if isinstance(compress, Compressor) else recipe_named(compress)
        self.name = name or Path(str(getattr(model.config, "_name_or_path", "") or model.config.model_type)).name
        self.max_frames, self.max_new_tokens, self.positions = max_frames, max_new_tokens, positions
        self.chunk = -(-chunk // self.family.step) * self.family.step

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
        """One answer for each question; the film goes through the vision tower once.

        ``budget`` counts every placeholder, LLaVA-OneVision's closing ``image_newline`` too. Frames are read at
        ``fps``, but no more than ``max_frames``, and without a compressor no more than fit the budget; warnings say so
        where that happens.

        Raises:
            ValueError: an unknown recipe (the list is given), a budget too small (the smallest is given), a question
            that
                contains a placeholder, a source that does not tell its length.
        """
        how = self._recipe(recipe)
        compress = how.make()
        frames = choose_frames(self.family, how, video, budget=budget, fps=fps, most=self.max_frames)
        seen = self.see(video, frames, fps, progress)
        answers = []
        for done, question in enumerate(questions):
            if progress:
                progress("answer", done, len(questions))
            answers.append(self._answer(seen, question, budget, compress))
        if progress:
            progress("answer", len(questions), len(questions))
        return answers

    def plan(
        self, video: Video, *, budget: int = 4096, fps: float = 1.0, recipe: str | None = None, question: str = ""
    ) -> Plan:
        """What an answer will take, by ``plan.plan_wrapped``; an upper bound for a compressor of one's own."""
        how = self._recipe(recipe)
        told = plan_config(
            self.model.config,
            self.processing,
            video,
            budget=budget,
            fps=fps,
            recipe=how,
            question=question,
            most=self.max_frames,
        )
        return Plan(model=self.name, recipe=how.name, **told)

    def see(self, video: Video, frames: Frames, fps: float, progress: Progress | None = None) -> Seen:
        """The chosen frames through the vision tower, a chunk at a time."""
        spent = {"read": 0.0, "encode": 0.0}

        def timed() -> Iterable[Clip]:
            done, clips = 0, iter(video.read(frames.sampling, chunk=self.chunk))
            while True:
                begin = time.perf_counter()
                clip = next(clips, None)
                spent["read"] += time.perf_counter() - begin
                if clip is None:
                    return
                yield clip
                done += len(clip)
                if progress:
                    progress("look", done, len(frames.seconds))

        begin = time.perf_counter()
        seq, seconds = self.encode(timed(), frames.size)
        spent["encode"] = time.perf_counter() - begin - spent["read"]
        duration = float(video.info.duration or 0)
        sampling = {
            "asked": {"fps": fps, "frames": frames.asked},
            "used": {"frames": len(seconds), "every_seconds": duration / len(seconds), "size": list(frames.size)},
        }
        shown = Shown(step_seconds(seconds, self.family.step)[:, 0], *frames.grid[1:])
        return Seen(seq, shown, len(seconds), duration, sampling, (*frames.warnings, *video.warnings), spent)

    @torch.no_grad()
    def encode(self, clips: Iterable[Clip], size: tuple[int, int]) -> tuple[VisualSequence, Tensor]:
        """Every token of some clips, chunk by chunk, with the seconds and the place that each one saw.

        Chunks end where temporal steps end, and towers attend within a step, so the result is that of one call.

        Returns:
            The tokens as one raster, and the (n,) seconds of the frames.

        Raises:
            ValueError: there is no frame, or the tower gives another number of tokens than the size promises.
        """
        base, step = self.model.base_model, self.family.step
        rows, columns = self.family.token_grid(size)
        rasters: list[Tensor] = []
        seconds: list[Tensor] = []
        rest: Tensor | None = None

        def through(frames: Tensor) -> None:
            tokens = self.family.encode(base, self.family.pixels(frames, size))
            if tokens.shape[1] != rows * columns:
                raise ValueError(
                    f"{self.name}: the vision tower gives {tokens.shape[1]} tokens a frame, its files promise "
                    f"{rows} x {columns}; do config.json and the processor files belong together?"
                )
            rasters.append(tokens)

        for clip in clips:
            frames = clip.frames if rest is None else torch.cat([rest, clip.frames])
            seconds.append(clip.seconds)
            whole = len(frames) - len(frames) % step
            rest = frames[whole:] if whole < len(frames) else None
            if whole:
                through(frames[:whole])
        if rest is not None:
            through(rest)
        if not rasters:
            raise ValueError(f"{self.name}: no frame could be read, so there is nothing to look at")
        tokens, when = torch.cat(rasters), torch.cat(seconds)
        tokens = tokens.reshape(1, len(tokens), rows, columns, -1)
        return VisualSequence.of_grid(tokens, step_seconds(when, step)[None]), when

    @torch.no_grad()
    def prompt(self, seen: Seen, question: str, budget: int, compress: Compressor | None = None) -> Prompt:
        """The question with what the compressor keeps of the film; never more than ``budget`` placeholders."""
        room = budget - self.family.tail
        kept = (compress or Identity())(seen.seq, room, query=self._query(question))
        if int(kept.count[0]) > room:
            raise ValueError(f"{type(compress).__name__} gave {int(kept.count[0])} tokens for a budget of {room}")
        rows = kept.tokens[0, kept.mask[0]]
        tail = self.family.tail_rows(self.model.base_model)
        features = rows if tail is None else torch.cat([rows, tail.to(rows)])
        ids = prompt_ids(self.processing, self.family, kept, question, seen.duration).to(self.model.device)
        slots = (ids[0] == self.family.token_id).nonzero()[: len(rows), 0]
        places = self.family.positions(ids, kept, seen.shown, self.positions)

        def inputs() -> dict[str, Any]:
            given = {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "mm_encoder_outputs": {self.family.modality: self.family.outputs(features)},
            }
            return given if places is None else {**given, "position_ids": places}

        return Prompt(kept, slots, inputs)

    def _answer(self, seen: Seen, question: str, budget: int, compress: Compressor) -> Answer:
        begin = time.perf_counter()
        prompt = self.prompt(seen, question, budget, compress)
        given = prompt.inputs()
        length = given["input_ids"].shape[1]
        ready = time.perf_counter()
        layers = getattr(self.model.base_model, self.family.language).layers
        with Listening(layers[len(layers) // 2], prompt.slots, length) as listening:
            ids = self.model.generate(**given, max_new_tokens=self.max_new_tokens, do_sample=False, num_beams=1)
        text = self.processing.tokenizer.decode(ids[0, length:], skip_special_tokens=True).strip()
        spans = prompt.kept.span[0, prompt.kept.mask[0]]
        looked = tuple(spans.unique().tolist())
        cost = Cost(
            frames_seen=seen.frames,
            frames_kept=len(looked),
            tokens_seen=len(seen.seq) + self.family.tail,
            tokens_kept=int((given["input_ids"] == self.family.token_id).sum()),
            seconds={**seen.seconds, "compress": ready - begin, "generate": time.perf_counter() - ready},
            peak_bytes=peak_bytes(),
        )
        return Answer(
            text=text,
            moments=moments_of(prompt.kept, listening.scores()),
            cost=cost,
            model=self.name,
            question=question,
            looked=looked,
            sampling=seen.sampling,
            warnings=seen.warnings,
        )

    def _query(self, question: str) -> Tensor:
        """(1, Q, D) what the language model takes the question's words for."""
        ids = self.processing.tokenizer(question, add_special_tokens=False)["input_ids"]
        embed = self.model.get_input_embeddings()
        return embed(torch.tensor([ids], device=self.model.device))

    def _recipe(self, name: str | None) -> Recipe:
        return self.recipe if name is None else recipe_named(name)


def wrap(
    hf_model: PreTrainedModel,
    processor_or_folder: Any = None,
    *,
    compress: Compressor | str | None = None,
    name: str | None = None,
    max_frames: int = MAX_FRAMES,
    chunk: int = 16,
    max_new_tokens: int = NEW_TOKENS,
    positions: str = "published",
) -> WrappedModel:
    """A seefar model around a loaded model of transformers, whose own ``generate`` goes on working as before.

    Args:
        hf_model: the ...ForConditionalGeneration, loaded.
        processor_or_folder: the folder with its tokenizer and processor files, or its processor; None for the folder
            that the model was loaded from.
        compress: a compressor, or the name of a recipe, for answers that name none themselves.
        name: how answers call it.
        max_frames: frames read for one answer, at most.
        chunk: frames encoded at a time.
        max_new_tokens: length of an answer, at most.
        positions: "published", or "transformers" for what 5.23 does; see ``WrappedModel``.

    Raises:
        ValueError: the model type has no adapter, this transformers lacks the seam, or there are no processor files.
    """
    source = processor_or_folder
    if source is None:
        source = str(getattr(hf_model.config, "_name_or_path", ""))
        if not source:
            raise ValueError(
                "wrap: this model was not loaded from a folder; pass the folder that holds its processor files"
            )
    return WrappedModel(
        hf_model,
        Processing.of(source),
        compress=compress,
        name=name,
        max_frames=max_frames,
        chunk=chunk,
        max_new_tokens=max_new_tokens,
        positions=positions,
    )


def load_folder(
    folder: str | Path, *, dtype: str | torch.dtype = "auto", compress: Compressor | str | None = None
) -> WrappedModel:
    """The wrapped model in a folder; files are checked before any weight is read, and nothing is downloaded.

    Raises:
        ValueError: there is no such folder, it holds no model or no processor files, or its model type has no adapter.
    """
    read_config(folder)
    processing = read_processing(folder)
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()
    return wrap(model, processing, compress=compress, name=Path(folder).name)


def check_seam(model: Any) -> None:
    """Refuses a model whose ``forward`` does not take features computed beforehand, or that cannot write text."""
    import transformers

    kind = type(model).__name__
    if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"transformers {transformers.__version__} lacks mm_encoder_outputs; seefar needs >= 5.23 for {kind}. "
            "pip install -U transformers"
        )
    if not model.can_generate():
        raise ValueError(f"{kind} has no language head; wrap its ...ForConditionalGeneration instead")
