"""LongVA: a language model that was taught to read long text reads long film, though it saw only pictures (2024).

Film with its answers is scarce, long text is not. So the language model alone is made long: slower rotary angles and
more training on long text. Then it learns to see on pictures, each cut into tiles that are given to it as the frames of
a film would be (UniRes). Where tokens of frames mean what words mean, what it does over long text it does over film. It
is measured with V-NIAH, a frame hidden in a film, at lengths beyond anything that was seen in training.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch

from seefar.embed.base import Embed
from seefar.embed.patch import ConvPatches
from seefar.evals.protocols import Curves, needle_curve
from seefar.evals.vniah import depth_grid, sign_bench
from seefar.papers._card import Card, Scale, Verdict
from seefar.synthetic.signs import SIDE, Signs
from seefar.training.transfer import Course
from seefar.vlm.unires import UniRes, set_rope_base

CARD = Card(
    number=1,
    title="Long Context Transfer from Language to Vision",
    arxiv="2406.16852",
    code="EvolvingLMMs-Lab/LongVA",
    published=(
        "V-NIAH over 200 to 3000 frames: 90.9 % of 90 cells right, against 14.7 % with a language model of 32K tokens "
        "and 28.4 % with that one's rotary base raised afterwards; best 7B model on Video-MME in its time"
    ),
    holds_when=(
        "two Qwen2 of two layers and width 64 from one that has read texts of up to 32 words; one, its rotary base "
        "raised a hundredfold, reads on in texts of up to 1200 words, the other, for as many words and questions at "
        "least, in texts of up to 32. Both then learn to see alike: to bring the tokens of single frames to the "
        "embeddings of their words, then to answer about films of up to 8 frames of 4 tokens. V-NIAH by the published "
        "rule, ten needles at six depths: the mean over 32, 64, 128 and 256 frames is at least 0.85 for the first, and "
        "at least 0.30 above that of the second; both have at least 0.95 at 8 frames"
    ),
    control=(
        "the same without long text must miss 0.85 over 32 to 256 frames, with its base as it was and with its base "
        "raised afterwards; and with the needles taken out the first must stay at 0.3 or below (guessing gives 0.125)"
    ),
)
SMOKE = Course(Signs(names=8, fillers=4, facts=2), dim=16, short=16, long=40, frames=2, steps=(2, 2, 2, 2))
CPU = Course(Signs(), dim=64, short=32, long=1200, frames=8, steps=(250, 200, 400, 100))


def build(model: Any, eye: Embed, *, base: float | None = None, positions: int | None = None) -> UniRes:
    """The reader of pictures and film; with a ``base``, its language model first gets slower rotary angles, in place.

    Args:
        model: a causal language model of transformers; best one that has read long text with that base.
        eye: a raster of tokens for each frame, averaged here by 2 x 2 (published: CLIP-L, 576 tokens to 144).
        base: rotary base, published 1e9 for Qwen2; None leaves it.
        positions: that the model says it reads; None leaves them.
    """
    if base is not None:
        set_rope_base(model, base, positions)
    elif positions is not None:
        raise ValueError("longva: positions go with a rotary base; give base= too, such as base=1e9")
    return UniRes(eye, model)


def claim(scale: Scale) -> Verdict:
    """Two language models from one, long and short, that learn to see alike."""
    course, needles = scale.pick((SMOKE, 1), (CPU, 10))
    counts = [course.frames * times for times in scale.pick((1, 4), (1, 4, 8, 16, 32))]
    far, limit = counts[1:], (counts[-1] + 2) * SIDE**2
    words = cache(lambda seed: course.words(seed, limit, scale.progress))

    @cache
    def reader(long: bool, seed: int) -> UniRes:
        torch.manual_seed(seed)
        eye = ConvPatches(2 * course.dim, (32, 64), blocks=1)
        seeing = build(deepcopy(words(seed)), eye, base=1e6 if long else None)
        return course.sight(seeing, seed, long=long, progress=scale.progress)

    def bench(long: bool, base: float, present: bool = True) -> Callable[[int], Callable[[int, float], float]]:
        def prepare(seed: int) -> Callable[[int, float], float]:
            tested = deepcopy(reader(long, seed))
            set_rope_base(tested.model, base)
            return sign_bench(tested, course.signs, counts[-1], needles, seed, present=present)

        return prepare

    arms = {"longva": bench(True, 1e6), "short text": bench(False, 1e4), "short text, base raised": bench(False, 1e6)}
    curves = needle_curve(arms, counts, depth_grid(scale.pick(1.0, 0.2)), scale, name="V-NIAH of signs")
    blind = needle_curve({"longva": bench(True, 1e6, False)}, far, [0.0], scale, name="V-NIAH of signs, no needle")
    means = {arm: {n: _mean(curves, arm, [n]) for n in counts} for arm in curves}
    beyond = {arm: _mean(curves, arm, far) for arm in curves}
    seen = {arm: means[arm][counts[0]] for arm in ("longva", "short text")}
    figures = {
        "V-NIAH by frames and depth": curves.to_json(),
        "by frames": {arm: {str(n): value for n, value in row.items()} for arm, row in means.items()},
        "at 4 to 32 times the frames seen": beyond,
        "without the needle": blind.mean("longva"),
    }
    checks = {
        "0.85 beyond the frames seen": beyond["longva"] >= 0.85,
        "0.30 above short text": beyond["longva"] - beyond["short text"] >= 0.3,
    } | {f"0.95 at the frames seen: {arm}": value >= 0.95 for arm, value in seen.items()}
    controls = {f"{arm} misses 0.85": beyond[arm] < 0.85 for arm in arms if arm != "longva"}
    controls["guessing without the needle"] = blind.mean("longva") <= 0.3
    note = "Film longer than the long text is not tried, and nothing is said of real film or of Video-MME"
    return Verdict(figures, checks, controls, note)


def _mean(curves: Curves, arm: str, counts: list[int]) -> float:
    return Curves({arm: {at: figure for at, figure in curves[arm].items() if at[0] in counts}}).mean(arm)
