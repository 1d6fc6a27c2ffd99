"""Whether an answer is right, and how sure a share is; every benchmark measures with these."""

from __future__ import annotations

import math
import platform
import re
from typing import Any

from seefar.vlm.answer import Answer

WITHIN = 2.0
"""Seconds by which a time or a duration may be off."""
PHRASES = {
    "longvideobench/lmms-eval": (
        "The best answer is", "The correct answer is", "The answer is", "The answer", "The best option is",
        "The correct option is", "Best answer:", "Best option:",
    ),
    "longvideobench/vlmevalkit": (  # its list lacks two commas, so two entries are pairs that no answer ever holds
        "The best answer is", "The correct answer is", "The answer is", "The answer",
        "The best option isThe correct option is", "Best answer:Best option:", "Answer:", "Option:",
    ),
}  # fmt: skip
"""What each published rule deletes from an answer, in this order, before it looks for the letter."""
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def right(kind: str, truth: str, answer: Answer) -> bool:
    """Whether the text of an answer gives the truth of a question of this kind.

    Times ("when", "needle") are read from the first clock time of the text and durations from the first number of
    seconds, both right within two seconds; numbers and counts are the first number; everything else has to begin the
    text, word for word. Only the text counts: a model of any kind can be measured.
    """
    text = answer.text.lower().strip()
    if kind in ("when", "needle"):
        second = clock_time(text)
        return second is not None and abs(second - float(truth)) <= WITHIN
    if kind == "duration":
        found = re.search(r"(\d+(?:\.\d+)?)\s*(?:s\b|sec)", text)
        return found is not None and abs(float(found[1]) - float(truth)) <= WITHIN
    words = re.findall(r"\w+", text)
    if kind in ("number", "count"):
        numbers = [
            str(NUMBER_WORDS.index(w)) if w in NUMBER_WORDS else w for w in words if w in NUMBER_WORDS or w.isdigit()
        ]
        return bool(numbers) and numbers[0] == truth
    wanted = truth.lower().split()
    words = [w for w in words if w not in ("the", "a", "an")]
    return words[: len(wanted)] == wanted


def clock_time(text: str) -> float | None:
    """The first time of day-less clock form in a text, in seconds: ``clock_time("at 1:02:05.5") == 3725.5``."""
    found = re.search(r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)", text)
    if found is None:
        return None
    return int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3])


def choice_letter(text: str, rule: str) -> str | None:
    """The letter that a published rule reads from an answer to a multiple-choice question, None where it finds none.

    The rules of LongVideoBench delete set phrases and take the first capital from A to E that is left, be it an option
    or the first letter of a word: "Answer: C" is an A for lmms-eval and a C for VLMEvalKit. What becomes of None (a
    draw, a wrong answer) is the scorer's affair.

    Args:
        text: the answer as generated.
        rule: one of ``PHRASES``; those of lmms-eval first drop the reasoning, see `without_reasoning`.

    Reference: lmms-eval 75571cf, ``tasks/longvideobench/utils.py``; VLMEvalKit e8e78f0, ``utils/longvideobench.py``.
    """
    if rule not in PHRASES:
        raise ValueError(f"choice_letter: unknown rule {rule!r}, expected one of {sorted(PHRASES)}")
    if rule.endswith("/lmms-eval"):
        text = without_reasoning(text)
    for phrase in PHRASES[rule]:
        text = text.replace(phrase, "")
    found = re.search("[A-E]", text)
    return found[0] if found else None


def without_reasoning(text: str) -> str:
    """An answer without its ``<think>`` and ``<analysis>`` blocks, as lmms-eval's command line drops them by default.

    Where the opening tag stood in the prompt, everything up to the last closing tag goes. A block that is never closed
    stays.
    """
    for tag in ("think", "analysis"):
        text = re.sub(f"<{tag}>.*?</{tag}>", "", text, flags=re.DOTALL)
        if f"<{tag}>" not in text:
            text = text.rpartition(f"</{tag}>")[2]
    return text.strip()


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share of ``hits`` in ``total`` (Wilson, 1927): honest for few cases and near 0 or 1."""
    if total == 0:
        return 0.0, 1.0
    share = hits / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def score(hits: int, total: int) -> dict[str, Any]:
    """A share with its interval, ready for a result file."""
    low, high = wilson(hits, total)
    return {
        "share": round(hits / total, 4) if total else None,
        "low": round(low, 4),
        "high": round(high, 4),
        "n": total,
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import os

    import torch

    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
