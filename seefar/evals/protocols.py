"""The experiments that papers share: each runs every arm at every point for every seed, with intervals, resumably.

An arm is ``prepare(seed) -> measure``, where ``measure(point)`` gives one number: what is trained or built once for a
seed serves all its points. A finished trial is kept in the scale's folder, so a stopped experiment goes on.
"""

from __future__ import annotations

import gc
import json
import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from seefar.training.fit import fit

Point = Hashable
Measure = Callable[[Any], float]
Arm = Callable[[int], Measure]

T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t at 95 % by degrees of freedom."""


class Setting(Protocol):
    """What a protocol needs of a scale: the seeds, where to keep trials, whom to tell."""

    @property
    def seeds(self) -> tuple[int, ...]: ...

    @property
    def folder(self) -> Path | None: ...

    @property
    def progress(self) -> Callable[[str, int, int | None], None] | None: ...


@dataclass(frozen=True)
class Figure:
    """A mean over seeds with its 95 % interval (Student's t); one seed has no interval but itself."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def reach(self) -> float:
        """Half of the interval."""
        n = len(self.values)
        return 0.0 if n < 2 else T_95.get(n - 1, 1.96) * statistics.stdev(self.values) / math.sqrt(n)

    @property
    def low(self) -> float:
        return self.mean - self.reach

    @property
    def high(self) -> float:
        return self.mean + self.reach

    def to_json(self) -> dict[str, Any]:
        """Mean, interval and every value."""
        short = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: round(value, 6) for name, value in short.items()} | {"values": [round(v, 6) for v in self.values]}


class Curves(dict[str, dict[Any, Figure]]):
    """Figures by arm and point."""

    def mean(self, arm: str) -> float:
        """Of an arm over all its points."""
        return statistics.fmean(figure.mean for figure in self[arm].values())

    def slope(self, arm: str) -> float:
        """Exponent p of ``value ~ point^p``: least squares through the logarithms of the means."""
        xs = [math.log(point) for point in self[arm]]
        ys = [math.log(max(figure.mean, 1e-300)) for figure in self[arm].values()]
        if len(xs) < 2:
            raise ValueError(f"slope: arm {arm!r} has {len(xs)} point; a slope needs two")
        middle = statistics.fmean(xs)
        return sum((x - middle) * y for x, y in zip(xs, ys, strict=True)) / sum((x - middle) ** 2 for x in xs)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """As plain values, points as text."""
        return {arm: {str(at): figure.to_json() for at, figure in row.items()} for arm, row in self.items()}


def sweep(name: str, arms: Mapping[str, Arm], points: Sequence[Point], setting: Setting) -> Curves:
    """Every arm at every point for every seed.

    Args:
        name: of the experiment; its trials are kept under it.
        arms: ``prepare(seed) -> measure(point)``; ``prepare`` is called only if one of its trials is missing.
        points: what the experiment sweeps over: lengths, budgets, counts, pairs of them.
        setting: the scale.

    Raises:
        ValueError: no arm or no point.
        FloatingPointError: a measure gave no finite number.
    """
    if not arms or not points:
        raise ValueError(f"{name}: an experiment needs arms and points, got {len(arms)} and {len(points)}")
    kept = _Trials(setting.folder, name)
    total = len(arms) * len(points) * len(setting.seeds)
    values: dict[tuple[str, int, str], float] = {}
    for seed in setting.seeds:  # seeds outermost: a stopped experiment has whole comparisons
        for arm, prepare in arms.items():
            measure: Measure | None = None
            for point in points:
                key = (arm, seed, repr(point))
                if key not in kept.done:
                    measure = measure or prepare(seed)
                    value = float(measure(point))
                    if not math.isfinite(value):
                        raise FloatingPointError(f"{name}: {arm} at {point!r}, seed {seed}, gave {value}")
                    kept.add(key, value)
                values[key] = kept.done[key]
                if setting.progress is not None:
                    setting.progress(name, len(values), total)
    return Curves(
        {
            arm: {point: Figure(tuple(values[arm, seed, repr(point)] for seed in setting.seeds)) for point in points}
            for arm in arms
        }
    )


def needle_curve(
    arms: Mapping[str, Callable[[int], Callable[[int, float], float]]],
    frames: Sequence[int],
    depths: Sequence[float],
    setting: Setting,
    *,
    name: str = "needle curve",
) -> Curves:
    """Share of needles found by (frames, depth); an arm is ``prepare(seed) -> found(frames, depth)`` in [0, 1]."""
    if any(not 0 <= depth <= 1 for depth in depths):
        raise ValueError(f"{name}: depths lie in [0, 1], got {list(depths)}")

    def at_pair(prepare: Callable[[int], Callable[[int, float], float]]) -> Arm:
        def prepared(seed: int) -> Measure:
            found = prepare(seed)
            return lambda point: found(*point)

        return prepared

    cells = [(count, depth) for count in frames for depth in depths]
    return sweep(name, {arm: at_pair(prepare) for arm, prepare in arms.items()}, cells, setting)


def length_sweep(
    arms: Mapping[str, Arm], lengths: Sequence[int], setting: Setting, *, name: str = "length sweep"
) -> Curves:
    """The score of each arm by the length of what it is given; lengths rise."""
    if list(lengths) != sorted(set(lengths)):
        raise ValueError(f"{name}: lengths must rise, got {list(lengths)}")
    return sweep(name, arms, lengths, setting)


def recall(arms: Mapping[str, Arm], counts: Sequence[int], setting: Setting, *, name: str = "recall") -> Curves:
    """Share of what was stored that is given back, by the number of things stored; values must lie in [0, 1]."""
    curves = sweep(name, arms, counts, setting)
    for arm, row in curves.items():
        for count, figure in row.items():
            if min(figure.values) < 0 or max(figure.values) > 1:
                raise ValueError(f"{name}: a share lies in [0, 1], {arm} at {count} gave {figure.values}")
    return curves


def equal_budget(
    arms: Mapping[str, Callable[[int], Callable[[int], tuple[float, int]]]],
    budgets: Sequence[int],
    setting: Setting,
    *,
    name: str = "equal budget",
) -> Curves:
    """The score of each arm by its budget, every arm held to it.

    Args:
        arms: ``prepare(seed) -> measure(budget)`` giving the score and the most tokens that were spent.
        budgets: in tokens.
        setting: the scale.
        name: of the experiment.

    Raises:
        ValueError: an arm went above its budget.
    """

    def held(arm: str, prepare: Callable[[int], Callable[[int], tuple[float, int]]]) -> Arm:
        def prepared(seed: int) -> Measure:
            measure = prepare(seed)

            def score(budget: int) -> float:
                value, spent = measure(budget)
                if spent > budget:
                    raise ValueError(f"{name}: {arm} spent {spent} tokens of a budget of {budget}")
                return value

            return score

        return prepared

    return sweep(name, {arm: held(arm, prepare) for arm, prepare in arms.items()}, budgets, setting)


def ablation(arms: Mapping[str, Arm], setting: Setting, *, name: str = "ablation") -> Curves:
    """One number for each arm, the method and its controls side by side; the only point is ``"score"``."""
    if len(arms) < 2:
        raise ValueError(f"{name}: a method needs a control beside it, got {list(arms)}")
    return sweep(name, arms, ["score"], setting)


def cost_sweep(
    arms: Mapping[str, Callable[[int], Callable[[], Any]]],
    lengths: Sequence[int],
    setting: Setting,
    *,
    repeats: int = 3,
    name: str = "cost sweep",
) -> tuple[Curves, Curves]:
    """Seconds and bytes of each arm by length.

    Seconds are the shortest of ``repeats`` calls after one to warm up; arms take turns, so that a busy moment hits all.
    Bytes are the most that tensors held at once during a call, above what was held before.

    Args:
        arms: ``prepare(length) -> call``.
        lengths: to try.
        setting: the scale; seeds play no part.
        repeats: calls that are timed.
        name: of the experiment.
    """
    seconds: dict[str, dict[int, list[float]]] = {arm: {n: [] for n in lengths} for arm in arms}
    bytes_: dict[str, dict[int, list[float]]] = {arm: {n: [] for n in lengths} for arm in arms}
    for done, length in enumerate(lengths):
        calls = {arm: prepare(length) for arm, prepare in arms.items()}
        for arm, call in calls.items():
            bytes_[arm][length].append(float(peak_bytes(call)))
        best = dict.fromkeys(calls, math.inf)
        for _ in range(repeats):
            for arm, call in calls.items():
                began = time.perf_counter()
                call()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                best[arm] = min(best[arm], time.perf_counter() - began)
        for arm, value in best.items():
            seconds[arm][length].append(value)
        if setting.progress is not None:
            setting.progress(name, done + 1, len(lengths))

    def curves(values: dict[str, dict[int, list[float]]]) -> Curves:
        return Curves({arm: {n: Figure(tuple(row[n])) for n in row} for arm, row in values.items()})

    return curves(seconds), curves(bytes_)


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most bytes that tensors allocated in a call held at once, on the CPU or on the current CUDA device."""
    from torch.profiler import DeviceType, ProfilerActivity, profile

    gc.collect()
    on_device = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    held = most = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU:
            held += event.nbytes()
            most = max(most, held)
    if torch.cuda.is_available():
        most = max(most, int(torch.cuda.max_memory_allocated() - on_device))
    return most


def classification(
    arms: Mapping[str, Callable[[int], nn.Module]],
    batch: Callable[[int, int], tuple[Any, torch.Tensor]],
    test: Callable[[int], tuple[Any, torch.Tensor]] | Mapping[Any, Callable[[int], tuple[Any, torch.Tensor]]],
    setting: Setting,
    *,
    steps: int,
    lr: float = 1e-3,
    name: str = "classification",
) -> Curves:
    """Accuracy on data that training did not see, every arm with the same data, steps and optimiser.

    Args:
        arms: ``build(seed)`` gives a network from inputs to (B, classes) logits.
        batch: ``batch(seed, step)`` gives inputs and labels (B,).
        test: ``test(seed)`` gives inputs and labels held out; several by point, such as resolutions, for a network that
            is trained once and tested on each. One alone is the point ``"accuracy"``.
        setting: the scale.
        steps: of training.
        lr: the highest learning rate.
        name: of the experiment.
    """
    tests = test if isinstance(test, Mapping) else {"accuracy": test}

    def trained(build: Callable[[int], nn.Module]) -> Arm:
        def prepared(seed: int) -> Measure:
            torch.manual_seed(seed)
            model = build(seed)

            def loss(net: nn.Module, data: tuple[Any, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
                return nn.functional.cross_entropy(net(data[0]), data[1]), {}

            fit(model, lambda step: batch(seed, step), loss, steps=steps, lr=lr, progress=setting.progress)

            @torch.inference_mode()
            def accuracy(point: Any) -> float:
                inputs, labels = tests[point](seed)
                return float((model(inputs).argmax(-1) == labels).float().mean())

            return accuracy

        return prepared

    return sweep(name, {arm: trained(build) for arm, build in arms.items()}, list(tests), setting)


class _Trials:
    """Finished trials of one experiment, kept as lines of JSON."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self.path = None if folder is None else folder / f"{name.replace(' ', '-')}.jsonl"
        self.done: dict[tuple[str, int, str], float] = {}
        if self.path is not None and self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:  # the line that was being written when it was stopped
                    continue
                self.done[row["arm"], row["seed"], row["point"]] = row["value"]

    def add(self, key: tuple[str, int, str], value: float) -> None:
        self.done[key] = value
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps({"arm": key[0], "seed": key[1], "point": key[2], "value": value}) + "\n")
