"""Lessons one after another, by the number of the training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

Lesson = TypeVar("Lesson")


class Curriculum(Generic[Lesson]):
    """``curriculum(step)`` is the lesson of a step, for the ``batch`` of ``fit``; after the last step, the last lesson.

    Args:
        lessons: how many steps each one takes, and what it is.

    Raises:
        ValueError: no lesson, or one without a step.

    Example:
        >>> easy_first = Curriculum([(2, "short"), (3, "long")])
        >>> [easy_first(step) for step in range(easy_first.steps)]
        ['short', 'short', 'long', 'long', 'long']
    """

    def __init__(self, lessons: Sequence[tuple[int, Lesson]]) -> None:
        if not lessons or min(steps for steps, _ in lessons) < 1:
            raise ValueError(f"Curriculum: needs lessons of at least one step each, got {list(lessons)}")
        self.lessons = tuple(lessons)

    @property
    def steps(self) -> int:
        """Of all lessons together."""
        return sum(steps for steps, _ in self.lessons)

    def __call__(self, step: int) -> Lesson:
        """What is taught at a step, counted from 0."""
        for steps, lesson in self.lessons:
            if step < steps:
                return lesson
            step -= steps
        return self.lessons[-1][1]
