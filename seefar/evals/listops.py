"""ListOps: the accuracy of a sequence model after a short training on nested lists of digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from seefar.evals.formats.lra import Vocabulary, read_listops
from seefar.evals.protocols import Arm, Measure, Setting
from seefar.synthetic.listops import END, OPERATORS, listops, write_listops
from seefar.training.fit import fit

WORDS = Vocabulary.of([[*OPERATORS, "X", *"0123456789"]])
"""Of the published files, whose closing bracket ``]`` is read as X."""


@cache
def listops_ids(count: int, *, length: tuple[int, int], depth: int, arguments: int, seed: int) -> tuple[Tensor, Tensor]:
    """(count, N) int64 and (count,) labels: made, written as the published files are, and read as they are.

    Rows are padded to the longest that ``length`` allows with its end mark, so that all draws have one N.
    """
    samples = listops(count, length=length, depth=depth, arguments=arguments, seed=seed)
    assert all(END in source for source, _ in samples if len(source) > 1)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "basic.tsv"
        write_listops(path, samples)
        rows = read_listops(path)
    ids = WORDS.encode([words for words, _ in rows], length[1])
    ids = nn.functional.pad(ids, (0, length[1] - ids.shape[1]))
    return ids, torch.tensor([label for _, label in rows])


def trained_on_listops(
    build: Callable[[], nn.Module],
    setting: Setting,
    *,
    steps: int,
    length: tuple[int, int] = (10, 40),
    depth: int = 3,
    arguments: int = 8,
    batch: int = 32,
    lr: float = 1e-2,
    tests: int = 500,
) -> Arm:
    """Share of held-out lists whose value a model says; every arm of a seed sees the same lists in the same order.

    Padding is a word like others to the model.

    Args:
        build: makes a ``SequenceModel`` of ``WORDS.words`` that pools to ten classes.
        setting: the scale.
        steps: of training, each with lists of its own.
        length: fewest and most words of a list, both excluded.
        depth: as in ``synthetic.listops``.
        arguments: most of a list.
        batch: lists of a step.
        lr: the highest learning rate.
        tests: held-out lists, none of which is trained on.
    """

    def prepare(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build()
        made = listops_ids(steps * batch + tests, length=length, depth=depth, arguments=arguments, seed=seed)
        (held, wanted), (ids, labels) = ([part[:tests] for part in made], [part[tests:] for part in made])

        def chosen(step: int) -> tuple[Tensor, Tensor]:
            rows = slice(step * batch, (step + 1) * batch)
            return ids[rows], labels[rows]

        def loss(net: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
            return nn.functional.cross_entropy(net(data[0])[0], data[1]), {}

        fit(model, chosen, loss, steps=steps, lr=lr, progress=setting.progress)

        @torch.inference_mode()
        def accuracy(_: object) -> float:
            return float((model(held)[0].argmax(-1) == wanted).double().mean())

        return accuracy

    return prepare
