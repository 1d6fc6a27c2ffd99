"""A record and a line that says how it becomes an example: which fields, in what order, which of them are learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from seefar.training.packing import Example

BEGIN, END = "<|bos|>", "<|eos|>"


def written(
    line: str,
    record: Mapping[str, str],
    encode: Callable[[str], list[int]],
    *,
    begin: int,
    end: int,
    separator: str = " ",
) -> Example:
    """The fields of a record one after another, begun and ended by their tokens.

    Fields stand in ``line`` with commas between. ``[f]`` is read but not learnt; ``a+b`` are two texts joined by
    ``separator`` and encoded as one; ``<|bos|>`` and ``<|eos|>`` are the tokens ``begin`` and ``end``. The first token
    is ``begin``, which is not learnt, and the last ``end``, which is.

    Args:
        line: such as ``"[question],answer"``.
        record: texts by name.
        encode: a text into tokens, without marks of its own.
        begin: the token for a beginning.
        end: the token for an end.
        separator: between joined fields.

    Raises:
        ValueError: a field that the record lacks.

    Example:
        >>> letters = lambda text: [ord(c) - 96 for c in text]
        >>> example = written("[a],b", {"a": "cd", "b": "e"}, letters, begin=0, end=9)
        >>> example.ids.tolist(), example.answer.tolist()
        ([0, 3, 4, 5, 9], [False, False, False, True, True])

    Reference: the text processor of LargeWorldModel/LWM, arXiv 2402.08268.
    """
    ids, learnt = [begin], [False]
    for field in line.split(","):
        learn = not (field.startswith("[") and field.endswith("]"))
        name = field if learn else field[1:-1]
        if name in (BEGIN, END):
            tokens = [begin if name == BEGIN else end]
        else:
            parts = name.split("+")
            if lost := [part for part in parts if part not in record]:
                raise ValueError(f"written: {lost[0]!r} in {line!r} is no field of the record; it has {list(record)}")
            tokens = encode(separator.join(record[part] for part in parts))
        ids += tokens
        learnt += [learn] * len(tokens)
    return Example(torch.tensor([*ids, end]), torch.tensor([*learnt, True]))
