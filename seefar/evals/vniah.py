"""V-NIAH as published: the frame of a needle put into the frames of a long film, at every length and depth.

Not ``evals.needle``, which asks for a moment and reads what is generated. Here features of frames go straight into a
language model, and by the published rule the right answer is fed in: only likeliest words are compared.

N frames at hand, P tokens of a frame, D channels, L words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seefar.evals.protocols import Setting
from seefar.evals.report import draw_heat
from seefar.synthetic.signs import SIDE, Signs
from seefar.vlm.unires import UniRes

RULES = ("ids", "text", "generated")
Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Needle:
    """A frame and what is asked about it.

    Args:
        tokens: (P, D) of the frame, as the language model takes them.
        question: (L,) ids.
        answer: (L,) ids.
    """

    tokens: Tensor
    question: Tensor
    answer: Tensor


@dataclass(frozen=True)
class Haystack:
    """A film that needles are put into, and the words around it.

    Args:
        tokens: (N, P, D) of its frames, as the language model takes them; published at one frame a second.
        before: (L,) ids ahead of the frames, such as the system's turn and the opening of the user's.
        after: (L,) ids behind the question, such as the end of the user's turn.
        sampling: which n frames stand for the film: "prefix" the first n, as published; "uniform" evenly from all of
            it, as in Video-XL's copy of the benchmark.
    """

    tokens: Tensor
    before: Tensor | None = None
    after: Tensor | None = None
    sampling: str = "prefix"

    def __post_init__(self) -> None:
        if self.tokens.ndim != 3:
            raise ValueError(f"Haystack: tokens are (frames, tokens of one, width), got {tuple(self.tokens.shape)}")
        if self.sampling not in ("prefix", "uniform"):
            raise ValueError(f"Haystack: sampling must be 'prefix' or 'uniform', got {self.sampling!r}")

    def film(self, frames: int, depth: float, needle: Tensor | None) -> Tensor:
        """(n + 1, P, D): ``frames`` frames with the needle before frame int(depth * frames); without one only those.

        Raises:
            ValueError: fewer frames at hand, a depth outside [0, 1], a needle of another grid or width.
        """
        if not 0 <= depth <= 1:
            raise ValueError(f"V-NIAH: a depth lies in [0, 1], got {depth}")
        if not 1 <= frames <= len(self.tokens):
            raise ValueError(f"V-NIAH: {frames} frames were asked for, the haystack has {len(self.tokens)}")
        which = (
            np.linspace(0, len(self.tokens) - 1, frames, dtype=int) if self.sampling == "uniform" else np.arange(frames)
        )
        hay = self.tokens[torch.from_numpy(which)]
        if needle is None:
            return hay
        if needle.shape != hay.shape[1:]:
            raise ValueError(
                f"V-NIAH: a frame of the haystack has {tuple(hay.shape[1:])} tokens and width, the needle "
                f"{tuple(needle.shape)}; see both with the same eye, grid and pooling"
            )
        at = int(depth * frames)
        return torch.cat([hay[:at], needle[None], hay[at:]])


@torch.inference_mode()
def found(
    model: Any,
    haystack: Haystack,
    needle: Needle,
    frames: int,
    depth: float,
    *,
    rule: str = "ids",
    present: bool = True,
    decode: Decode | None = None,
) -> bool:
    """Whether a language model answers the question of a needle in so many frames of the haystack.

    Rules, whose figures cannot be compared with each other:

    - "ids": the answer is fed in; at every place before one of its words that word must be the likeliest of all. This
      is the published rule ("PPL-based"), looser than generating: a later word is judged as if all before were right.
    - "text": the same likeliest words decoded, compared without spaces and case: LongVILA's.
    - "generated": the answer, decoded, lies in the text that is generated greedily, up to its first ")": Video-XL's. No
      answer is fed in, but "no B" has the answer "B".

    Args:
        model: a causal language model of transformers; its places run from 0, its attention is causal.
        haystack: the film.
        needle: what is hidden and asked.
        frames: of the haystack; the needle's comes on top.
        depth: 0 puts it first, 1 last.
        rule: one of ``RULES``.
        present: False leaves the needle's frame out, and what is still right is guessed.
        decode: ids to text, for the rules that need it.

    Raises:
        ValueError: an answer without a word, an unknown rule, one that needs ``decode``, more tokens than the model
            says it can read; or what ``Haystack.film`` refuses.

    Reference: Zhang et al., LongVA, arXiv 2406.16852; its released code. Differs: no padding for ring attention, and
    logits at the answer alone; neither changes a prediction.
    """
    if rule not in RULES:
        raise ValueError(f"V-NIAH: rule must be one of {', '.join(RULES)}, got {rule!r}")
    if not needle.answer.numel():
        raise ValueError("V-NIAH: the answer has no word, so that everything would be right; give its ids")
    if rule != "ids" and decode is None:
        raise ValueError(f"V-NIAH: rule {rule!r} compares text; give decode=tokenizer.decode, or use rule='ids'")
    embed, device = model.get_input_embeddings(), haystack.tokens.device
    film = haystack.film(frames, depth, needle.tokens if present else None).flatten(0, 1)

    def words(ids: Tensor | None) -> Tensor:
        return film[:0] if ids is None else embed(ids.to(device)).to(film)

    row = torch.cat([words(haystack.before), film, words(needle.question), words(haystack.after)])[None]
    answer = needle.answer.to(device)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and row.shape[1] + len(answer) > limit:
        raise ValueError(
            f"V-NIAH: {frames} frames and the words are {row.shape[1] + len(answer)} tokens, the model says it reads "
            f"{limit}; extend it first: set_rope_base(model, base, positions={row.shape[1] + len(answer)})"
        )
    if rule == "generated":
        assert decode is not None
        spoken = model.generate(inputs_embeds=row, max_new_tokens=len(answer) + 2, do_sample=False)[0]
        return decode(answer.tolist()).strip() in decode(spoken.tolist()).split(")")[0]
    row = torch.cat([row, words(answer)[None]], 1)
    places = torch.arange(row.shape[1], device=device)[None]
    logits = model(inputs_embeds=row, position_ids=places, use_cache=False, logits_to_keep=len(answer) + 1).logits
    likeliest = logits[0, -len(answer) - 1 : -1].argmax(-1)
    if rule == "ids":
        return bool((likeliest == answer).all())
    assert decode is not None
    said, right = (decode(ids.tolist()).replace(" ", "").lower() for ids in (likeliest, answer))
    return said == right


def run(
    model: Any,
    haystack: Haystack,
    needles: Sequence[Needle],
    frames: Sequence[int],
    depths: Sequence[float],
    *,
    rule: str = "ids",
    present: bool = True,
    decode: Decode | None = None,
    folder: str | Path | None = None,
    setting: Setting | None = None,
) -> list[dict[str, float]]:
    """The whole grid: for each length and depth the share of the needles that are found, in the published format.

    With a folder there are the published files, ``all_accuracies.json`` and ``avg_accuracy.txt``, and ``recipe.json``,
    which names the rule: figures of two rules are no comparison.

    Args:
        model: a causal language model of transformers.
        haystack: the film.
        needles: what is hidden and asked; published five.
        frames: lengths; published 200 to 3000 in steps of 200.
        depths: ``depth_grid(0.2)`` as published.
        rule: as for ``found``, which names all of them.
        present: False leaves the needles' frames out.
        decode: ids to text, for the rules that need it.
        folder: where the files go; None writes none.
        setting: whose ``progress`` is told; None tells nobody.
    """
    if not needles or not frames or not depths:
        raise ValueError(f"V-NIAH: needs needles, lengths and depths, got {len(needles)}, {len(frames)}, {len(depths)}")
    grid = [(count, depth) for count in frames for depth in depths]
    cells = []
    for count, depth in grid:
        hits = [
            found(model, haystack, needle, count, depth, rule=rule, present=present, decode=decode)
            for needle in needles
        ]
        score = sum(hits) / len(hits)
        cells.append({"Num. Frame": count, "Frame Depth": float(round(100 * depth, -1)), "Score": score})
        if setting is not None and setting.progress is not None:
            setting.progress("V-NIAH", len(cells), len(grid))
    if folder is not None:
        recipe = {"rule": rule, "sampling": haystack.sampling, "needles": len(needles), "needle present": present}
        at = Path(folder)
        at.mkdir(parents=True, exist_ok=True)
        (at / "all_accuracies.json").write_text(json.dumps(cells, indent=4))
        (at / "avg_accuracy.txt").write_text(f"Average Accuracy: {average(cells)}\n")
        (at / "recipe.json").write_text(json.dumps(recipe, indent=4))
    return cells


def depth_grid(step: float) -> list[float]:
    """0, step, ... up to 1, as the published code counts them; 0.2 gives six depths.

    Raises:
        ValueError: the step does not divide 1 (the published code then puts needles beyond the end).
    """
    if not 0 < step <= 1 or abs(1 / step - round(1 / step)) > 1e-9:
        raise ValueError(f"depth_grid: the step must divide 1, such as 0.1 or 0.2, got {step}")
    return [min(1.0, float(depth)) for depth in np.arange(0, 1 + step / 2, step)]


def average(cells: Sequence[dict[str, float]]) -> float:
    """The plain mean over cells, the published headline; cells without a score are refused.

    Raises:
        ValueError: no cell.
    """
    if not cells:
        raise ValueError("V-NIAH: there are no cells to average")
    return sum(cell["Score"] for cell in cells) / len(cells)


def heatmap(cells: Sequence[dict[str, float]], path: str | Path) -> None:
    """A grid as a picture: lengths along, depths down."""
    panel = {(cell["Num. Frame"], cell["Frame Depth"]): cell["Score"] for cell in cells}
    draw_heat({"V-NIAH": panel}, path, title="Needles answered right, in %", across="frames", down="depth")


def sign_bench(
    reader: UniRes, signs: Signs, frames: int, needles: int, seed: int, *, present: bool = True
) -> Callable[[int, float], float]:
    """``found(frames, depth)`` for ``protocols.needle_curve``: the published rule in a film of signs.

    Args:
        reader: a trained one.
        signs: the world it was trained on.
        frames: of the haystack, the most that can be asked for.
        needles: each with a name that the haystack does not hold.
        seed: of haystack and needles.
        present: False leaves the needles out.
    """
    words, told = signs.needles(needles, frames * SIDE**2, [seed, 4])
    with torch.inference_mode():
        hay, own = (
            reader.see(signs.pictures(film, [seed, part])).tokens.unflatten(1, (-1, SIDE**2))
            for film, part in ((words[None], 5), (told.words, 6))
        )
    haystack = Haystack(hay[0])
    hidden = [Needle(own[i, 0], told.questions[i, 0], told.answers[i]) for i in range(needles)]
    return lambda count, depth: average(run(reader.model, haystack, hidden, [count], [depth], present=present))
