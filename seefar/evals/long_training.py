"""Ways to train on long texts, measured: stages of length and base, and what an example of a packed row weighs.

B texts, N tokens of a text, V words there are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.backbones.sequence import SequenceModel
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.synthetic.remote import SYMBOLS, remote_copy
from seefar.synthetic.sentences import Recalled, passkey
from seefar.training.context_schedule import ContextSchedule
from seefar.training.fit import fit
from seefar.training.packing import Example, Packed, Weights, pack

ASKED_ONCE_IN = 32
"""Words of a text of training."""


def staged(
    build: Callable[[], nn.Module],
    schedule: ContextSchedule,
    setting: Setting,
    *,
    tokens: int = 2048,
    tests: int = 200,
    lr: float = 1e-2,
) -> Arm:
    """Share of needles found, by the length of the text, after training on texts of each stage in turn.

    A needle is a digit that is called the passkey somewhere in a text that is full of digits; it is asked for at the
    end, and in training also before, once in 32 words. Only answers are learnt, and texts held out tell of a world that
    training did not see.

    Args:
        build: gives ``model(ids) -> (logits, state)`` over ``sentences.WORDS_OF_TEXT``, with rotary positions.
        schedule: lengths, bases and steps.
        setting: the scale.
        tokens: of all texts of a step together, at every stage.
        tests: texts held out, of each length.
        lr: the highest learning rate.
    """

    def prepared(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()

        def texts(step: int) -> tuple[int, Recalled]:
            length = schedule(step).length
            count, asks = max(1, tokens // length), max(1, length // ASKED_ONCE_IN)
            return step, passkey(count, length, asks=asks, seed=_base(seed) + step)

        def loss(net: nn.Module, data: tuple[int, Recalled]) -> tuple[Tensor, dict[str, float]]:
            step, told = data
            schedule.prepare(net, step)
            asked = told.answers[:, 1:]
            return F.cross_entropy(net(told.ids)[0][:, :-1][asked], told.ids[:, 1:][asked]), {}

        fit(model, texts, loss, steps=schedule.steps, lr=lr, progress=setting.progress)

        @torch.inference_mode()
        def found(length: int) -> float:
            told = passkey(tests, length, split="held-out", seed=_base(seed))
            return float(told.found_by(model(told.ids)[0]).double().mean())

        return found

    return prepared


def packed(
    build: Callable[[], SequenceModel],
    weights: Weights,
    setting: Setting,
    *,
    short: int,
    long: int,
    rows: int,
    steps: int,
    tests: int = 200,
    lr: float = 1e-2,
) -> Arm:
    """Share of short answers that are right after training on rows packed with a long example and short ones.

    The short ones ask for a needle, with one token to learn. The long one says the same 16 symbols over and over, and
    all of it is to be learnt. Half of a row is the long one.

    Args:
        build: the model; its column must know segments.
        weights: of the tokens, see ``pack``.
        setting: the scale.
        short: tokens of a short example; ``long`` of a long one, a multiple of it.
        long: tokens.
        rows: of a step.
        steps: of training.
        tests: short examples held out.
        lr: the highest learning rate.
    """

    def prepared(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()

        def texts(step: int) -> Packed:
            where = _base(seed) + 1 + step
            asked = questions(rows * long // short, short, seed=where)
            spread = [list(asked[row::rows]) for row in range(rows)]
            told = refrains(rows, long, seed=where)
            return pack(
                [one for long_, some in zip(told, spread, strict=True) for one in (long_, *some)],
                2 * long,
                weights=weights,
            )

        def loss(net: nn.Module, data: Packed) -> tuple[Tensor, dict[str, float]]:
            assert isinstance(net, SequenceModel)
            return data.loss(scores(net, data)), {}

        fit(model, texts, loss, steps=steps, lr=lr, progress=setting.progress)

        @torch.inference_mode()
        def right(_: object) -> float:
            data = pack(questions(tests, short, seed=_base(seed)), short)
            said = scores(model, data)[:, -2].argmax(-1)
            return float((said == data.ids[:, -1]).double().mean())

        return right

    return prepared


def scores(model: SequenceModel, data: Packed) -> Tensor:
    """Logits (B, N, V) of packed rows, each example read as if alone."""
    mixed, _ = model.column(model.embed(data.ids), segments=data.segments)
    logits: Tensor = model.head(model.norm(mixed))
    return logits


def questions(count: int, length: int, *, seed: int) -> list[Example]:
    """Texts with a marked symbol that is asked for at the end; the symbol is the answer."""
    ids, _ = remote_copy(count, 1, length, seed=seed)
    return [Example(text, torch.arange(length) == length - 1) for text in ids]


def refrains(count: int, length: int, *, period: int = 16, seed: int) -> list[Example]:
    """Random symbols said over and over; all but the first is an answer."""
    draw = torch.Generator().manual_seed(seed)
    once = torch.randint(SYMBOLS, (count, period), generator=draw)
    ids = once.repeat(1, -(-length // period))[:, :length]
    return [Example(text, torch.arange(length) > 0) for text in ids]


def _base(seed: int) -> int:
    """Texts held out are drawn with it, those of training with the numbers after it."""
    return 1_000_000 * (seed + 1)
