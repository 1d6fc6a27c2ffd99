"""How well a video goes on by itself: predictors trained frame by frame, then left to their own frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Curves, Measure, Setting, sweep
from seefar.evals.recall import Aged
from seefar.mixers.base import Mixer
from seefar.synthesis.frames import FramePredictor
from seefar.training.fit import fit

Window = tuple[int, int]
"""First and last frame of a rollout that are measured, from 1."""


class Clips(Protocol):
    """Draws (count, frames, C, H, W) in [0, 1]."""

    def __call__(self, count: int, frames: int, *, seed: int, split: str) -> Tensor: ...


def rollouts(
    arms: Mapping[str, Callable[[], FramePredictor]],
    clips: Clips,
    windows: Sequence[Window],
    setting: Setting,
    *,
    train: int,
    context: int,
    steps: int,
    batch: int = 8,
    tests: int = 64,
    lr: float = 1e-3,
    name: str = "rollouts",
) -> Curves:
    """Mean squared error of frames that a predictor made from its own, by arm and window of the rollout.

    Every arm has the same clips, steps and optimiser. Two that learn nothing stand beside them: ``"last frame"`` stands
    still after the context, ``"mean frame"`` shows the mean of 256 training clips.

    Args:
        arms: ``build()``.
        clips: the data; those of the test are of the split "held-out".
        windows: first and last frame after the context, from 1.
        setting: the scale.
        train: frames of a training clip.
        context: frames seen before a rollout.
        steps: of training, each frame predicted from the true ones before it.
        batch: clips of a step.
        tests: clips held out.
        lr: the highest learning rate.
        name: of the experiment.

    Raises:
        ValueError: no context, or a window that does not begin at 1 or later and end after that.

    Differs: arXiv 2310.19694 lowers the mean absolute error as much as the squared one; where frames are mostly dark
    and updates few, a predictor then gets no further than black.
    """
    if context < 1:
        raise ValueError(f"{name}: a rollout needs a frame to begin from, got a context of {context}")
    if any(not 1 <= first <= last for first, last in windows):
        raise ValueError(f"{name}: windows are (first, last) frames from 1, such as (1, 10), got {list(windows)}")
    device = _device()
    ahead = max(last for _, last in windows)

    def errors(seed: int, guess: Callable[[Tensor], Tensor]) -> Measure:
        """By window, of frames (tests, ahead or 1, C, H, W) guessed from the context."""
        film = clips(tests, context + ahead, seed=seed, split="held-out")
        missed = (guess(film[:, :context]) - film[:, context:]).square().mean((0, 2, 3, 4))
        return lambda window: float(missed[window[0] - 1 : window[1]].mean())

    def trained(build: Callable[[], FramePredictor]) -> Arm:
        def prepare(seed: int) -> Measure:
            torch.manual_seed(seed)
            model = build().to(device)

            def loss(net: nn.Module, clip: Tensor) -> tuple[Tensor, dict[str, float]]:
                return (net(clip[:, :-1])[0] - clip[:, 1:]).square().mean(), {}

            def data(step: int) -> Tensor:
                return clips(batch, train, seed=100_000 * (seed + 1) + step, split="train").to(device)

            fit(model, data, loss, steps=steps, lr=lr, progress=setting.progress)
            return errors(seed, torch.inference_mode()(lambda seen: model.rollout(seen.to(device), ahead)[0].cpu()))

        return prepare

    def mean_frame(seed: int) -> Measure:
        mean = clips(256, train, seed=100_000 * (seed + 1) - 1, split="train").mean((0, 1))
        return errors(seed, lambda seen: mean)

    still = {"last frame": lambda seed: errors(seed, lambda seen: seen[:, -1:]), "mean frame": mean_frame}
    return sweep(name, {arm: trained(build) for arm, build in arms.items()} | still, list(windows), setting)


def frame_after(column: Mixer, shape: tuple[int, ...], *, batch: int = 1) -> Aged:
    """For ``evals.recall.cost_after``: one frame through a column that has seen a number of frames before it.

    Args:
        column: a causal mixer over (B, N, ...) tokens.
        shape: of a frame, in tokens: (H, W, D) for a mixer of pictures, (H W, D) for one of tokens in a row, whose
            frames follow each other.
        batch: clips at once.
    """
    generator, device = torch.Generator().manual_seed(0), _device()
    column.eval().to(device)

    def frames(count: int) -> Tensor:
        rows = (count * shape[0], shape[1]) if len(shape) == 2 else (count, *shape)
        return torch.randn(batch, *rows, generator=generator).to(device)

    @torch.inference_mode()
    def prepare(age: int) -> tuple[Callable[[], Any], int]:
        state = column(frames(age))[1]
        frame = frames(1)
        return lambda: torch.inference_mode()(column)(frame, state)[0].cpu(), _bytes(state)

    return prepare


def update(column: Mixer, shape: tuple[int, ...], *, batch: int, whole: bool = True) -> Callable[[int], Any]:
    """For ``evals.protocols.cost_sweep``: forward and backward through a column, by the number of frames.

    Args:
        column: a causal mixer of pictures over time.
        shape: of a frame, (H, W, D).
        batch: clips at once.
        whole: all frames at once; otherwise one after another, with the state carried.
    """

    column.to(_device())

    def prepare(count: int) -> Callable[[], Any]:
        x = torch.randn(batch, count, *shape, generator=torch.Generator().manual_seed(0)).to(_device())

        def call() -> None:
            column.zero_grad(set_to_none=True)
            state, losses = None, []
            for piece in [x] if whole else x.split(1, 1):
                y, state = column(piece, state)
                losses.append(y.square().mean())
            torch.stack(losses).mean().backward()

        return call

    return prepare


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _bytes(state: Any) -> int:
    """Of all tensors in a state of nested tuples."""
    if isinstance(state, Tensor):
        return state.nbytes
    return sum(map(_bytes, state)) if isinstance(state, tuple) else 0
