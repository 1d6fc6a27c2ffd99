"""Longer and longer texts, stage by stage, with slower and slower rotary positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from seefar.positions.rope import Rope
from seefar.training.curriculum import Curriculum


class Stage(NamedTuple):
    """A part of training: texts of ``length`` tokens, rotary positions of ``base``, so many ``steps``."""

    length: int
    base: float
    steps: int


class ContextSchedule:
    """``schedule(step)`` is the stage of a step; ``prepare(model, step)`` gives the model that stage's positions.

    Each stage goes on from the weights of the one before. With a larger base the slow pairs of channels turn less over
    the longer text, so that distances new to the model look like ones it knows.

    Args:
        stages: length, base and steps of each; lengths and bases do not fall.

    Raises:
        ValueError: no stage, lengths or bases that fall, or sizes that cannot be; when it prepares: a model without
            rotary positions.

    Example:
        >>> schedule = ContextSchedule([(256, 1e4, 10), (1024, 1e6, 5)])
        >>> schedule(9).length, schedule(10).base, schedule.steps
        (256, 1000000.0, 15)

    Reference: Liu et al., arXiv 2402.08268: stages of 32K to 1M tokens with bases of 1M to 50M.
    """

    def __init__(self, stages: Sequence[tuple[int, float, int]]) -> None:
        self.stages = tuple(Stage(*stage) for stage in stages)
        if any(stage.length < 1 or stage.base <= 0 for stage in self.stages):
            raise ValueError(f"ContextSchedule: lengths and bases are positive, got {self.stages}")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if after.length < before.length or after.base < before.base:
                raise ValueError(
                    f"ContextSchedule: lengths and bases must not fall, got {tuple(before)} and then {tuple(after)}"
                )
        self._lessons = Curriculum([(stage.steps, stage) for stage in self.stages])

    @property
    def steps(self) -> int:
        """Of all stages together."""
        return self._lessons.steps

    def __call__(self, step: int) -> Stage:
        """The stage of a step, counted from 0."""
        return self._lessons(step)

    def prepare(self, model: nn.Module, step: int) -> None:
        """Give every rotary position of the model the base of this step's stage."""
        rebase(model, self(step).base)


def rebase(model: nn.Module, base: float) -> None:
    """Give every mixer that turns queries and keys by a ``Rope`` one of this base, in place; no weight changes.

    Raises:
        ValueError: nothing in the model has one.
    """
    turned = [module for module in model.modules() if isinstance(getattr(module, "rope", None), Rope)]
    if not turned:
        raise ValueError(f"rebase: no part of {type(model).__name__} has a Rope; build its attention with rope=Rope(d)")
    for module in turned:
        rope = module.rope
        assert isinstance(rope, Rope)
        if rope.base != base:
            setattr(module, "rope", Rope(rope.head_dim, base))  # noqa: B010
