"""ListOps: nested lists of digits with an operator in front, and the digit that each comes to; as published."""

from __future__ import annotations

import random
from pathlib import Path

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
END = "]"
BRANCHES = 0.25
"""Share of places that hold a list instead of a digit, as far as the depth allows."""


def listops(
    count: int, *, length: tuple[int, int] = (500, 2000), depth: int = 10, arguments: int = 10, seed: int
) -> list[tuple[str, int]]:
    """Expressions with their values: ``("( ( ( [MAX 3 ) 9 ) ] )", 9)``.

    MIN and MAX are the least and the greatest argument, MED the median rounded down, SM the sum modulo 10. The brackets
    are those of a binary tree; readers drop them.

    Args:
        count: expressions, all different.
        length: fewest and most words, both excluded; brackets do not count.
        depth: levels of the tree, that of the digits included: lists stand at most depth - 1 within each other.
        arguments: most of one list; each has two or more.
        seed: decides everything.

    Raises:
        ValueError: sizes that allow no expression.

    Reference: Nangia and Bowman, arXiv 1804.06028; sizes of Tay et al., Long Range Arena, arXiv 2011.04006.
    """
    low, high = length
    if count < 1 or depth < 2 or arguments < 2 or not 0 <= low < high - 1:
        raise ValueError(
            "listops: needs count >= 1, depth >= 2, arguments >= 2 and a length such as (50, 200), got "
            f"{count=}, {depth=}, {arguments=}, {length=}"
        )
    rng = random.Random(seed)
    found: dict[str, int] = {}
    tries = 0
    while len(found) < count:
        source, value, words = _expression(rng, depth - 1, arguments)
        if low < words < high:
            found[source] = value
        tries += 1
        if tries == 1000 and not found:
            raise ValueError(
                f"listops: none of {tries} expressions of {depth=} and {arguments=} had a length within {length}; "
                "allow shorter ones, more depth or more arguments"
            )
    return list(found.items())


def write_listops(path: str | Path, samples: list[tuple[str, int]]) -> None:
    """A file as published: tab-separated, headed ``Source`` and ``Target``."""
    rows = ["Source\tTarget", *(f"{source}\t{value}" for source, value in samples)]
    Path(path).write_text("\n".join(rows) + "\n", encoding="utf-8")


def _expression(rng: random.Random, depth: int, arguments: int) -> tuple[str, int, int]:
    """Source, value and words of a digit or of a list."""
    if depth == 0 or rng.random() > BRANCHES:
        digit = rng.randrange(10)
        return str(digit), digit, 1
    parts = [_expression(rng, depth - 1, arguments) for _ in range(rng.randint(2, arguments))]
    operator = rng.choice(OPERATORS)
    source = operator
    for part in (*(source for source, _, _ in parts), END):
        source = f"( {source} {part} )"
    return source, _value(operator, sorted(value for _, value, _ in parts)), 2 + sum(words for _, _, words in parts)


def _value(operator: str, rising: list[int]) -> int:
    n = len(rising)
    match operator:
        case "[MIN":
            return rising[0]
        case "[MAX":
            return rising[-1]
        case "[MED":
            return (rising[(n - 1) // 2] + rising[n // 2]) // 2
        case _:
            return sum(rising) % 10
