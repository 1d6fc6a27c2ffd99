"""What an answer of a wrapped model will take, told before any weight is loaded; and which frames it will read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seefar.compress.base import check_budget
from seefar.media.sample import Fps, Sampling, Uniform
from seefar.sequence import VisualSequence
from seefar.vlm.answer import Plan
from seefar.vlm.families import Family, family_of
from seefar.vlm.hf_folder import Processing, prompt_ids, read_config, read_processing
from seefar.vlm.recipes import Recipe
from seefar.vlm.recipes import recipe as recipe_named

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from seefar.media import Video

MAX_FRAMES = 768
"""Frames read for one answer, at most, so that features stay bounded; Qwen2.5-VL's own sampling stops there too."""

NEW_TOKENS = 128
"""Tokens of an answer, at most."""


@dataclass(frozen=True)
class Frames:
    """Which frames of a film a wrapped model reads, and as how many tokens it sees them.

    Args:
        sampling: what ``Video.read`` is given.
        seconds: (n,) float64 of each of them.
        size: height and width at which the vision tower takes them.
        grid: temporal steps, rows and columns of tokens.
        asked: frames that the frame rate alone asks for.
    """

    sampling: Sampling
    seconds: Tensor
    size: tuple[int, int]
    grid: tuple[int, int, int]
    asked: int
    warnings: tuple[str, ...]


def choose_frames(
    family: Family, recipe: Recipe, video: Video, *, budget: int, fps: float, most: int = MAX_FRAMES
) -> Frames:
    """The frames to read: at ``fps``, or evenly spaced where that asks for more than ``most`` or than the budget holds.

    Args:
        family: the adapter of the model.
        recipe: says whether the budget must hold one whole frame, or all tokens of all frames.
        video: the film; its packets are read.
        budget: visual tokens.
        fps: frames a second that are asked for.
        most: frames at most, whatever the budget.

    Raises:
        ValueError: the budget is below one frame (the smallest one is named), or the source does not tell its length.
    """
    check_budget("ask", budget)
    info = video.info
    timeline = video.timeline
    asked = len(Fps(fps).choose(timeline))
    size = family.frame_size(info.height, info.width, min(asked, most))
    rows, columns = family.token_grid(size)
    each = rows * columns
    least = (each if recipe.whole_frames else 1) + family.tail
    if budget < least:
        frame = f"one frame of this model takes {each}" if recipe.whole_frames else "the film needs one beside it"
        extra = f", and {family.tail} follows the film" if family.tail else ""
        hint = " The recipes pool and relevance need fewer." if recipe.whole_frames else ""
        raise ValueError(
            f"Budget too small: {budget} tokens; {frame}{extra}. Smallest for this model and recipe: {least}.{hint}"
        )
    room = (budget - family.tail) // each * family.step if recipe.keeps_all else most
    cap = min(most, room)
    warnings: list[str] = []
    sampling: Sampling = Fps(fps)
    if asked > cap:
        sampling = Uniform(cap)
    chosen = sampling.choose(timeline)
    seconds = torch.as_tensor(timeline.seconds[chosen], dtype=torch.float64)
    if asked > cap:
        why = f"budget of {budget} tokens, {each} a frame" if room < most else "frames at most"
        why = why if family.step == 1 or room >= most else f"budget of {budget} tokens, {each} for {family.step} frames"
        warnings.append(
            f"fps={fps:g} asks for {asked} frames, cap is {cap} ({why}): {len(chosen)} used, one every "
            f"{timeline.duration / max(len(chosen), 1):.1f} s."
        )
    if info.approximate_times:
        warnings.append(f"Times are approximate: no time stamps in this stream, {info.rate:g} fps assumed.")
    grid = (family.steps(len(chosen)), rows, columns)
    return Frames(sampling, seconds, size, grid, asked, tuple(warnings))


def step_seconds(seconds: Tensor, step: int) -> Tensor:
    """(T, 2) first and last second of each temporal step of ``step`` frames; a short last one repeats its frame."""
    missing = -len(seconds) % step
    steps = torch.cat([seconds, seconds[-1:].expand(missing)]).reshape(-1, step)
    return torch.stack([steps[:, 0], steps[:, -1]], -1)


def plan_wrapped(
    folder: str | Path,
    video: Video,
    *,
    budget: int = 4096,
    fps: float = 1.0,
    recipe: str | None = None,
    question: str = "",
    max_frames: int = MAX_FRAMES,
) -> Plan:
    """What a model in a folder will take to answer one question about a film; reads JSON files only, no weights.

    Visual tokens are exact for every recipe but "novelty", which may stop early on a still film. The key-value bytes
    count the whole prompt; the words around kept frames, which only SmolVLM has, are exact for recipes that do not look
    at features (identity, uniform, pool) and an upper bound for the others. Seconds are estimates from the measured
    speed of this machine.

    Raises:
        ValueError: as ``wrap.load_folder`` and ``WrappedModel.answer`` for the same folder, film, budget and recipe.
    """
    config = read_config(folder)
    how = recipe_named(recipe)
    told = plan_config(
        config, read_processing(folder), video, budget=budget, fps=fps, recipe=how, question=question, most=max_frames
    )
    return Plan(model=Path(folder).name, recipe=how.name, **told)


def plan_config(
    config: PreTrainedConfig,
    processing: Processing,
    video: Video,
    *,
    budget: int,
    fps: float,
    recipe: Recipe,
    question: str = "",
    most: int = MAX_FRAMES,
) -> dict[str, Any]:
    """The figures of a Plan, from a configuration and its processor files."""
    family = family_of(config, processing.settings)
    frames = choose_frames(family, recipe, video, budget=budget, fps=fps, most=most)
    whole = VisualSequence.of_grid(torch.zeros(1, *frames.grid, 1), step_seconds(frames.seconds, family.step)[None])
    kept = recipe.plan(whole, budget - family.tail)
    prompt = prompt_ids(processing, family, kept, question or "?" * 16, float(video.info.duration or 0)).shape[1]
    kind = getattr(torch, config.dtype) if isinstance(config.dtype, str) else config.dtype or torch.float32
    element = torch.empty(0, dtype=kind).element_size()
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    sizes = _parameters(config, family)
    flops = _flops_per_second()
    patches = frames.grid[0] * family.patch_count(frames.size)
    return {
        "frames": len(frames.seconds),
        "visual_tokens": int(kept.count[0]) + family.tail,
        "kv_bytes": 2 * text.num_hidden_layers * heads * width * element * prompt,
        "weight_bytes": sizes["all"] * element,
        "seconds": {
            "encode": 2 * sizes["vision"] * patches / flops,
            "prefill": 2 * sizes["language"] * prompt / flops,
            "generate": 2 * sizes["language"] * NEW_TOKENS / (flops / 8),
        },
        "warnings": frames.warnings,
    }


def _parameters(config: PreTrainedConfig, family: Family) -> dict[str, int]:
    """Numbers in the weights, from a model built without any memory for them; tied ones are counted once."""
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    base = model.base_model
    parts = {"vision": getattr(base, family.vision), "language": getattr(base, family.language), "all": model}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def _flops_per_second() -> float:
    """Multiplications and additions a second of this machine in a large matrix product."""
    a = torch.ones(512, 512)
    a @ a
    begin = time.perf_counter()
    for _ in range(4):
        a @ a
    return 4 * 2 * 512**3 / (time.perf_counter() - begin)
