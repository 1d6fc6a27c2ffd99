"""The files of the Long Range Arena as published: ListOps, reviews by characters, retrieval, Pathfinder.

``seefar.synthetic.listops`` makes files of the first format.

Reference: Tay et al., arXiv 2011.04006; details of reading as in state-spaces/s4.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seefar.evals.formats.tables import read_rows

PAD, UNKNOWN, END = "<pad>", "<unk>", "<eos>"
LISTOPS_LENGTH, TEXT_LENGTH, RETRIEVAL_LENGTH = 2048, 4096, 4000
"""Most tokens of a sample, the end mark included."""
TEXT_RARE = 15
"""Characters that come less often in the reviews for training are unknown ones."""


@dataclass(frozen=True)
class Vocabulary:
    """Words, or characters, by number: 0 pads, 1 is any unknown one, 2 ends a sample."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, samples: Iterable[Iterable[str]], *, least: int = 1) -> Vocabulary:
        """All words that come ``least`` times or more, sorted."""
        counts = Counter(word for sample in samples for word in sample)
        return cls((PAD, UNKNOWN, END, *sorted(word for word, n in counts.items() if n >= least)))

    def encode(self, samples: Sequence[Iterable[str]], length: int) -> Tensor:
        """(samples, tokens) int64: each cut to length - 1 words, ended, and padded to the longest.

        Raises:
            ValueError: no samples, or a length without room for a word and the end.
        """
        if not samples or length < 2:
            raise ValueError(f"Vocabulary: needs samples and a length of at least 2, got {len(samples)} and {length}")
        number = {word: i for i, word in enumerate(self.words)}
        rows = [[number.get(word, 1) for word in list(sample)[: length - 1]] + [2] for sample in samples]
        longest = max(len(row) for row in rows)
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def read_listops(path: str | Path) -> list[tuple[list[str], int]]:
    """Words and label of every row of ``basic_train.tsv`` and its like; brackets are dropped, ``]`` is called X.

    Raises:
        ValueError: the columns Source and Target are missing, or a target is no digit.
    """
    samples = []
    for n, row in enumerate(read_rows(path, ("Source", "Target")), 2):
        words = ["X" if word == "]" else word for word in row["Source"].split() if word not in "()"]
        samples.append((words, _label(row["Target"], 10, f"{path}, line {n}")))
    return samples


def read_text(folder: str | Path, split: str) -> list[tuple[str, int]]:
    """Reviews as texts, to be read by characters, 1 for praise: ``aclImdb/train/pos/*.txt`` and its like.

    The published setting validates on the split "test".

    Raises:
        ValueError: the folder has no reviews of that split.
    """
    samples = [
        (path.read_text(encoding="utf-8"), label)
        for label, name in enumerate(("neg", "pos"))
        for path in sorted((Path(folder) / split / name).glob("*.txt"))
    ]
    if not samples:
        raise ValueError(f"{folder}: holds no reviews in {split}/neg and {split}/pos; give the folder aclImdb")
    return samples


def read_retrieval(path: str | Path) -> list[tuple[str, str, int]]:
    """Two papers as texts, 1 where one cites the other: ``new_aan_pairs.train.tsv`` and its like.

    Raises:
        ValueError: a line without its five columns: label, two names, two texts.
    """
    samples = []
    for n, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        if len(columns := line.split("\t")) != 5:
            raise ValueError(f"{path}, line {n}: needs label, two names and two texts, got {len(columns)} columns")
        samples.append((columns[3], columns[4], _label(str(int(float(columns[0]))), 2, f"{path}, line {n}")))
    return samples


def read_pathfinder(folder: str | Path, *, contour: str = "curv_contour_length_14") -> list[tuple[Path, int]]:
    """Pictures and labels, 1 where the two marks are on one curve: ``pathfinder32`` and its like.

    The lists of samples are lines of text, though they are called ``metadata/*.npy``. Empty pictures, of which
    the published files have one, are left out.

    Raises:
        ValueError: no lists in the folder.
    """
    root = Path(folder) / contour
    lists = sorted(root.glob("metadata/*.npy"), key=lambda path: (len(path.stem), path.stem))
    if not lists:
        raise ValueError(f"{folder}: holds no {contour}/metadata/*.npy; give a folder such as pathfinder32")
    samples = []
    for path in lists:
        for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            place, name, _, label, *_ = line.split()
            picture = root / place / name
            if picture.stat().st_size:
                samples.append((picture, _label(label, 2, f"{path}, line {n}")))
    return samples


def pixels(picture: str | Path) -> Tensor:
    """(height * width, 1) of a grey picture in [0, 1], row by row."""
    import numpy as np
    from PIL import Image

    with Image.open(picture) as image:
        return torch.from_numpy(np.asarray(image.convert("L"), dtype=np.float32) / 255).reshape(-1, 1)


def _label(text: str, classes: int, where: str) -> int:
    if not text.isdigit() or int(text) >= classes:
        raise ValueError(f"{where}: the label must be 0 to {classes - 1}, got {text!r}")
    return int(text)
