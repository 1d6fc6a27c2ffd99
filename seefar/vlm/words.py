"""Words on screen: text lines found and recognised in one frame."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

ENOUGH = 0.2  # share of a line that must be wanted for it to be read
LONGEST = 1920  # pixels of the longer side beyond which a frame is reduced before it is read


@dataclass(frozen=True)
class Row:
    """A line of words on a frame.

    Args:
        box: y0, x0, y1, x1 as shares of the frame's height and width.
        score: how sure the recognition is, in [0, 1].
    """

    text: str
    box: tuple[float, float, float, float]
    score: float


class WordFinder:
    """Finds the lines of text in a frame and reads them.

    Detection and recognition are PP-OCRv4, whose weights the wheel of rapidocr-onnxruntime holds.

    Args:
        threads: of the networks.
        sure: recognitions below this score are dropped.

    Raises:
        ImportError: the extra is missing.
    """

    def __init__(self, *, threads: int = 2, sure: float = 0.6):
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise ImportError(
                "WordFinder: reading words needs rapidocr-onnxruntime: pip install 'seefar[read]'"
            ) from error
        # one line at a time: padding lines to a common width costs time and swallows the spaces between words
        self._engine: Any = RapidOCR(
            use_cls=False,
            intra_op_num_threads=threads,
            inter_op_num_threads=1,
            det_limit_side_len=544,
            det_unclip_ratio=1.8,
            rec_batch_num=1,
        )
        self.sure = sure

    def read(self, frame: np.ndarray, wanted: np.ndarray | None = None) -> list[Row]:
        """The rows of text in a (3, H, W) uint8 frame, from top to bottom.

        Args:
            frame: RGB; one whose longer side exceeds 1920 pixels is reduced first.
            wanted: (R, C) bool raster over the frame; lines that touch too little of it are not recognised.
        """
        boxes, image = self._find(frame)
        height, width = image.shape[:2]
        hulls = [(*box.min(0)[::-1], *box.max(0)[::-1]) for box in boxes]
        shares = [(y0 / height, x0 / width, y1 / height, x1 / width) for y0, x0, y1, x1 in hulls]
        chosen = [k for k, box in enumerate(shares) if wanted is None or cells(wanted, box).mean() >= ENOUGH]
        if not chosen:
            return []
        texts, _ = self._engine.text_rec(self._engine.get_crop_img_list(image, [boxes[k] for k in chosen]))
        rows = [Row(spaced(text), shares[k], float(score)) for k, (text, score) in zip(chosen, texts, strict=True)]
        return _joined([row for row in rows if row.score >= self.sure and row.text.strip()])

    def count(self, frame: np.ndarray) -> int:
        """How many lines of text a frame seems to hold, without reading them."""
        return len(self._find(frame)[0])

    def _find(self, frame: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        import cv2

        image = np.ascontiguousarray(frame[::-1].transpose(1, 2, 0))  # the networks were trained on blue, green, red
        scale = LONGEST / max(image.shape[:2])
        if scale < 1:
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        boxes, _ = self._engine.auto_text_det(image)
        return list(boxes) if boxes is not None else [], image


def cells(raster: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The entries of an (R, C) raster under a box given in shares of the frame."""
    R, C = raster.shape
    top, left = min(R - 1, int(box[0] * R)), min(C - 1, int(box[1] * C))
    bottom, right = max(top + 1, math.ceil(box[2] * R)), max(left + 1, math.ceil(box[3] * C))
    return raster[top:bottom, left:right]


def spaced(text: str) -> str:
    """The text with the spaces that recognition swallowed put back.

    >>> spaced("Waterandminerals"), spaced("chlorophyll"), spaced("def f(x):"), spaced("Thecrashof1929")
    ('Water and minerals', 'chlorophyll', 'def f(x):', 'The crash of 1929')
    """
    apart = re.sub(r"[A-Za-z]{5,}", lambda run: " ".join(_split(run.group())), text.replace("·", " ").strip())
    return NUMBERED.sub(r"\1 ", apart)


def _split(run: str) -> list[str]:
    """The cheapest way to write letters as words: known ones by rarity, perhaps with endings, others by the letter."""
    words, endings = _vocabulary()
    low = run.lower()
    if low in words:
        return [run]
    best: list[tuple[float, int, bool]] = [(0.0, 0, True)] + [(math.inf, 0, True)] * len(
        low
    )  # price, where the part starts, after a space
    for end in range(1, len(low) + 1):
        for start in range(max(0, end - 24), end):
            part = low[start:end]
            begin = best[start][0] + words.get(part, STRANGE + 4.0 * max(4, len(part)))
            go_on = best[start][0] + endings.get(part, math.inf) if start else math.inf
            if min(begin, go_on) < best[end][0]:
                best[end] = (min(begin, go_on), start, begin <= go_on)
    parts, end, tail = [], len(low), ""
    while end:
        _, start, spaced_off = best[end]
        tail = run[start:end] + tail
        if spaced_off:
            parts.append(tail)
            tail = ""
        end = start
    return parts[::-1]


@cache
def _vocabulary() -> tuple[dict[str, float], dict[str, float]]:
    """Words and endings, priced by rarity: the sentence encoder's own vocabulary, which lists common ones first."""
    from seefar.vlm.sentences import encoder_folder

    words: dict[str, float] = {}
    endings: dict[str, float] = {}
    for entry in (encoder_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines():
        piece = entry.removeprefix("##")
        if not (piece.isascii() and piece.isalpha()):
            continue
        if entry != piece:
            endings[piece] = 8.0 + math.log(len(endings) + 1)
        elif len(piece) > 2 or piece in SHORT:
            words[piece] = 7.0 + math.log(len(words) + 1)
    return words, endings


STRANGE = 10.0  # price of a word that the vocabulary lacks, before its letters, of which at least four are counted
SHORT = frozenset("a i an as at be by do go he if in is it me my no of on or so to up us we".split())  # noqa: SIM905
# words that recognition glues to a number
NUMBERED = re.compile(r"\b(as|at|by|in|is|of|on|or|to|and|the|was|from|until|about)(?=\d{2,}\b)", re.IGNORECASE)


def _joined(rows: Iterable[Row]) -> list[Row]:
    """Pieces that stand beside each other on one line, closely, as one row; rows from top to bottom."""
    done: list[Row] = []
    for row in sorted(rows, key=lambda row: row.box[1]):
        for place, other in enumerate(done):
            tall = min(row.box[2] - row.box[0], other.box[2] - other.box[0])
            overlap = min(row.box[2], other.box[2]) - max(row.box[0], other.box[0])
            if overlap > 0.6 * tall and -0.01 < row.box[1] - other.box[3] < 0.9 * tall:
                box = (
                    min(row.box[0], other.box[0]),
                    other.box[1],
                    max(row.box[2], other.box[2]),
                    max(row.box[3], other.box[3]),
                )
                done[place] = Row(f"{other.text} {row.text}", box, min(row.score, other.score))
                break
        else:
            done.append(row)
    return sorted(done, key=lambda row: (row.box[0], row.box[1]))
