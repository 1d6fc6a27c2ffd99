"""The whole dispatcher of the ops: no registry, no environment variable, no silent fallback from what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any


def choose(op: str, backends: Mapping[str, ModuleType], asked: str | None, *arguments: Any) -> Callable[..., Any]:
    """The ``run`` of the first backend that can take these tensors, or of the one asked for.

    A backend is a module with ``run(...)`` and ``cannot_run(*arguments)``, which gives None or the reason it can't.

    Raises:
        ValueError: the asked name is no backend of this op.
        RuntimeError: no backend can run, with the reason of each.
    """
    if asked is not None and asked not in backends:
        raise ValueError(f"{op}: unknown backend {asked!r}, expected one of {sorted(backends)}")
    reasons = {}
    for name in backends if asked is None else [asked]:
        reasons[name] = backends[name].cannot_run(*arguments)
        if reasons[name] is None:
            return backends[name].run
    raise RuntimeError(f"{op}: no backend can run these tensors: {reasons}")


def explain(op: str, backends: Mapping[str, ModuleType], *arguments: Any) -> str:
    """One line for each backend, fastest first: which one runs these tensors and why the faster ones cannot."""
    lines, chosen = [], False
    for name in backends:
        reason = backends[name].cannot_run(*arguments)
        verdict = f"cannot: {reason}" if reason else "could" if chosen else "runs"
        chosen = chosen or reason is None
        lines.append(f"{op}.{name}: {verdict}")
    return "\n".join(lines)
