"""Words to numbers for the small models, one number a word."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIAL = ("<pad>", "<unknown>", "<answer>", "<point>", "<span>", "<end>")


class Words:
    """A closed vocabulary: lower case, no punctuation, unknown words become ``<unknown>`` and can be named.

    >>> words = Words(["is", "a", "cat", "there"])
    >>> words.encode("Is there a cat?")
    [6, 9, 7, 8]
    >>> words.unknown("Is there a lecture?")
    ['lecture']
    """

    def __init__(self, words: Sequence[str]):
        self.all = (*SPECIAL, *words)
        self.index = {word: i for i, word in enumerate(self.all)}

    def __len__(self) -> int:
        return len(self.all)

    @staticmethod
    def split(text: str) -> list[str]:
        """The words of a text."""
        return re.findall(r"[\w]+", text.lower())

    def encode(self, text: str) -> list[int]:
        """The number of each word."""
        return [self.index.get(word, self.index["<unknown>"]) for word in self.split(text)]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not in the vocabulary."""
        return [word for word in self.split(text) if word not in self.index]
