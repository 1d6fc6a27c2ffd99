"""Writing in blocks measured: the same words or not, words a check, calls, seconds beside cached greedy decoding.

B texts, N words of a text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seefar.backbones.rollback import rolled_back
from seefar.backbones.sequence import SequenceModel
from seefar.decoding.blockwise import Accept, ProposalHeads, StateReader, Written, exact, proposal_loss, write
from seefar.evals.language import unit_losses
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.synthetic.digit_pixels import digit_pixels
from seefar.training.fit import fit


@dataclass(frozen=True)
class Way:
    """How a text is written.

    Args:
        accept: the rule.
        trained: heads that learnt to guess; False for heads as they were born.
        least: words of a block that stand unchecked.
    """

    accept: Accept = exact
    trained: bool = True
    least: int = 1


class WithHeads(nn.Module):
    """A frozen language model and the heads that learn to guess ahead of it."""

    def __init__(self, model: SequenceModel, heads: ProposalHeads) -> None:
        super().__init__()
        self.model, self.heads = model.requires_grad_(False), heads

    def loss(self, ids: Tensor) -> Tensor:
        """Of one head, drawn anew in each step, over texts (B, N)."""
        caught: list[Tensor] = []
        handle = self.model.norm.register_forward_hook(lambda *given: caught.append(given[2]))
        with torch.no_grad():
            self.model(ids)
        handle.remove()
        which = int(torch.randint(2, self.heads.block + 1, ()))
        return proposal_loss(self.heads, self.model.head, caught[0], ids, which)


def written(
    build: Callable[[], SequenceModel],
    batch: Callable[[int, int], Tensor],
    tests: Callable[[int], Tensor],
    ways: Mapping[str, Way],
    setting: Setting,
    *,
    block: int,
    given: int,
    steps: int,
    head_steps: int,
    lr: float = 3e-3,
    repeats: int = 2,
) -> Arm:
    """A language model, then heads on it frozen; texts are continued in every way, each beside plain greedy decoding.

    A point is ``(way, what)``; what is "same as greedy" (share of texts), "words a check", "calls, greedy over it",
    "seconds, greedy over it", or "error over that of greedy" (mean distance to the true text, for words that are
    quantities).

    Args:
        build: a model whose mixers are attention without a window.
        batch: ``batch(seed, step)`` gives texts (B, N).
        tests: ``tests(seed)`` gives texts held out; all but the first ``given`` words of each are written.
        ways: by name.
        setting: the scale.
        block: K, words of a block.
        given: words of a prompt.
        steps: of training the model.
        head_steps: of training the heads.
        lr: the highest learning rate of both.
        repeats: of the timing, greedy and the way in turn; the shortest counts.
    """

    def prepared(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()
        dim = model.head.in_features
        born = ProposalHeads(dim, block)
        both = WithHeads(model, ProposalHeads(dim, block))
        model.requires_grad_(True)
        fit(
            model,
            lambda step: batch(seed, step),
            lambda net, ids: (unit_losses(net(ids)[0], ids).mean(), {}),
            steps=steps,
            lr=lr,
            progress=setting.progress,
        )
        model.requires_grad_(False)
        fit(
            both,
            lambda step: batch(seed, steps + step),
            lambda _, ids: (both.loss(ids), {}),
            steps=head_steps,
            lr=lr,
            progress=setting.progress,
        )
        texts, plain = tests(seed), ProposalHeads(dim, 1)
        count = texts.shape[1] - given

        def all_of(heads: ProposalHeads, way: Way) -> tuple[list[Written], float]:
            began = time.perf_counter()
            done = [
                write(
                    StateReader(model, crop=rolled_back),
                    heads,
                    text[None, :given],
                    count,
                    accept=way.accept,
                    least=way.least,
                )
                for text in texts
            ]
            return done, time.perf_counter() - began

        found: dict[str, dict[str, float]] = {}

        def measure(point: tuple[str, str]) -> float:
            name, what = point
            if name not in found:
                way = ways[name]
                best = ours = math.inf
                for _ in range(repeats):
                    greedy, seconds = all_of(plain, Way())
                    done, own = all_of(both.heads if way.trained else born, way)
                    best, ours = min(best, seconds), min(ours, own)
                truth = texts[:, given:]
                far, base = (
                    float((torch.stack([one.ids for one in them]) - truth).abs().double().mean())
                    for them in (done, greedy)
                )
                alike = [torch.equal(a.ids, b.ids) for a, b in zip(done, greedy, strict=True)]
                calls = [sum(one.calls for one in them) for them in (greedy, done)]
                found[name] = {
                    "same as greedy": sum(alike) / len(alike),
                    "words a check": sum(map(len, (one.ids for one in done))) / max(1, calls[1] - len(texts)),
                    "calls, greedy over it": calls[0] / calls[1],
                    "seconds, greedy over it": best / ours,
                    "error over that of greedy": far / base,
                }
            return found[name][what]

        return measure

    return prepared


def grey_levels(split: str, count: int, *, seed: int) -> Tensor:
    """(B, 64) int64, ``count`` handwritten digits of 8 x 8 pixels, row by row, in 17 levels of grey."""
    pixels, _ = digit_pixels(split)
    chosen = torch.randint(len(pixels), (count,), generator=torch.Generator().manual_seed(seed))
    return ((pixels[chosen, :, 0] + 1) * 8).round().long()
