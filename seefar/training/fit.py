"""The only training loop of seefar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Progress = Callable[[str, int, int | None], None]


def cosine(step: int, steps: int, *, warmup: int = 100, floor: float = 0.02) -> float:
    """Share of the learning rate: a straight rise over ``warmup`` steps, then half a cosine down to ``floor``."""
    if step < warmup:
        return (step + 1) / warmup
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def fit(
    model: nn.Module,
    batch: Callable[[int], Any],
    loss: Callable[[nn.Module, Any], tuple[Tensor, dict[str, float]]],
    *,
    steps: int,
    lr: float = 1e-3,
    weight_decay: float = 0.02,
    clip: float = 1.0,
    schedule: Callable[[int, int], float] = cosine,
    folder: str | Path | None = None,
    save_every: int = 500,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` with AdamW for ``steps`` steps; stopped and called again, it goes on to the same numbers.

    ``batch(step)`` makes the data of a step from the step's number alone (seed its generator with it), and dropout
    draws from a generator seeded by the step, so that a resumed run equals an uninterrupted one bit for bit.

    Args:
        model: trained in place, left in eval mode.
        batch: step -> the data of that step.
        loss: ``loss(model, data)`` gives the scalar to lower and figures to log.
        steps: how many, those of a resumed run included.
        lr: the highest learning rate.
        weight_decay: of the matrices; vectors are not decayed, nor is a parameter with ``_no_weight_decay = True``.
        schedule: share of ``lr`` by (step, steps).
        clip: largest gradient norm; longer ones are scaled down (arXiv 1211.5063).
        folder: keeps ``checkpoint.pt`` and ``metrics.jsonl`` there and resumes from them; None keeps nothing.
        save_every: steps between checkpoints.
        progress: called as ``progress("train", step, steps)``.

    Returns:
        The logged figures, one dictionary for each step.

    Raises:
        FloatingPointError: the loss or its gradient is no finite number; the last checkpoint is kept.
    """
    learnt = [p for p in model.parameters() if p.requires_grad]
    decays = [p for p in learnt if p.ndim >= 2 and not getattr(p, "_no_weight_decay", False)]
    plain = [p for p in learnt if p.ndim < 2 or getattr(p, "_no_weight_decay", False)]
    groups = [{"params": decays, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.98))
    start, log = 0, []
    checkpoint = Path(folder) / "checkpoint.pt" if folder is not None else None
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if checkpoint.exists():
            saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            start, log = saved["step"], saved["log"]
    model.train()
    for step in range(start, steps):
        began = time.perf_counter()
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step, steps)
        value, figures = loss(model, batch(step))
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"fit: the loss became {float(value.detach())} at step {step}; lower lr (now {lr}) or clip (now {clip})"
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"fit: the gradient became {float(norm)} at step {step}; lower lr (now {lr})")
        optimizer.step()
        log.append(
            {
                "step": step,
                "loss": float(value.detach()),
                "norm": float(norm),
                "seconds": time.perf_counter() - began,
                **figures,
            }
        )
        if progress is not None:
            progress("train", step + 1, steps)
        if checkpoint is not None and ((step + 1) % save_every == 0 or step + 1 == steps):
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1, "log": log}
            fresh = checkpoint.with_suffix(".new")
            torch.save(state, fresh)
            fresh.replace(checkpoint)
            lines = "".join(json.dumps(entry) + "\n" for entry in log)
            (checkpoint.parent / "metrics.jsonl").write_text(lines)
    model.eval()
    return log
