"""One picture of a film and its answers: a strip of it, and a row for each question with the evidence it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seefar.vlm.answer import Answer, clock
from seefar.vlm.report import take_stills

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

    from seefar.media import Video

PAPER, CARD, INK, SOFT, TRACK, LOOKED, MARK, GOOD = (
    "#faf8f4", "#ffffff", "#22201c", "#6f6a61", "#ece7dd", "#b9b2a4", "#c8451b", "#2e7d4f",
)  # fmt: skip
WIDTH, EDGE, STRIP, EVIDENCE = 1600, 48, 10, 3
LEFT = 600
"""Width of the words of a row; the time line and the pictures stand right of them."""

ROW, STILL = 196, (264, 148)


def write_storyboard(
    path: str | Path, video: Video, answers: Sequence[Answer], *, title: str, truths: Sequence[tuple[str, bool]] = ()
) -> Path:
    """Paints the picture (PNG) and gives back its path.

    Args:
        path: where to, ending in .png.
        video: the film; its pictures are decoded from it once more.
        answers: one row each.
        title: words over the strip.
        truths: the right answer to each question, and whether the one given is right; none where it is not known.

    Raises:
        ValueError: no answers, or a source whose length is not known.
    """
    from PIL import Image, ImageDraw, ImageFont

    duration = video.info.duration
    if not answers or not duration:
        raise ValueError("write_storyboard: needs at least one answer, and a film whose length is known")
    strip = [(k + 0.5) / STRIP * duration for k in range(STRIP)]
    evidence = [[(m.start + m.end) / 2 for m in answer.moments[:EVIDENCE]] for answer in answers]
    stills = take_stills(video, [*strip, *(second for row in evidence for second in row)], STILL[0])

    top = 250
    sheet = Image.new("RGB", (WIDTH, top + ROW * len(answers) + EDGE), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = {size: ImageFont.load_default(size) for size in (17, 20, 22, 34)}
    draw.text((EDGE, 28), title, INK, font[34])
    room = WIDTH - 2 * EDGE
    cell = room / STRIP
    for k, second in enumerate(strip):
        if second in stills:
            _paste(sheet, stills[second], (round(EDGE + k * cell) + 1, 92), (round(cell) - 2, 84))
    _line(draw, (EDGE, 180), room, 26, duration, answers, font[17])
    for k, answer in enumerate(answers):
        y = top + k * ROW
        draw.line((EDGE, y, WIDTH - EDGE, y), TRACK, 2)
        _words(draw, (EDGE, y + 20), answer, truths[k] if truths else None, font)
        x = EDGE + LEFT
        _line(draw, (x, y + 20), WIDTH - EDGE - x, 12, duration, [answer], None)
        for m, second in enumerate(evidence[k]):
            place = (x + m * (STILL[0] + 16), y + 42)
            if second in stills:
                _paste(sheet, stills[second], place, (STILL[0], STILL[1] - 22))
            label = f"{clock(second)}   {answer.moments[m].score:.2f}"
            draw.text((place[0], place[1] + STILL[1] - 18), label, SOFT, font[17])
    path = Path(path)
    sheet.save(path, optimize=True)
    return path


def _words(
    draw: ImageDraw,
    place: tuple[int, int],
    answer: Answer,
    truth: tuple[str, bool] | None,
    font: dict[int, Font],
) -> None:
    x, y = place
    if truth is not None:
        right = truth[1]
        corners = [(x, y + 11), (x + 6, y + 18), (x + 17, y + 4)] if right else [(x + 1, y + 4), (x + 15, y + 18)]
        draw.line(corners, GOOD if right else MARK, 4)
        if not right:
            draw.line([(x + 15, y + 4), (x + 1, y + 18)], MARK, 4)
        x += 32
    room = LEFT - (x - place[0]) - 40
    for line in _wrapped(answer.question, font[22], room)[:2]:
        draw.text((x, y - 4), line, INK, font[22])
        y += 30
    for line in _wrapped(answer.text, font[20], room)[: 3 if truth is None else 2]:
        draw.text((x, y), line, MARK if truth is None or not truth[1] else GOOD, font[20])
        y += 27
    if truth is not None:
        draw.text((x, y + 2), _wrapped(f"truth: {truth[0]}", font[17], room)[0], SOFT, font[17])


def _wrapped(text: str, font: Font, room: float) -> list[str]:
    """The text in lines that fit; never empty."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line] or [""]


def _line(
    draw: ImageDraw,
    place: tuple[int, int],
    room: int,
    height: int,
    duration: float,
    answers: Sequence[Answer],
    font: Font | None,
) -> None:
    """The film from left to right: grey where it was looked at, a pin at each answer's strongest moments."""
    x, y = place
    draw.rounded_rectangle((x, y, x + room, y + height), 4, TRACK)
    for second in {second for answer in answers for second in answer.looked}:
        at = x + second / duration * room
        draw.line((at, y, at, y + height), LOOKED)
    for answer in answers:
        for moment in answer.moments[: EVIDENCE if len(answers) == 1 else 1]:
            a, b = (x + second / duration * room for second in (moment.start, moment.end))
            draw.rectangle((a - 2, y - 3, max(a, b) + 2, y + height + 3), MARK)
    if font is not None:
        for k in range(7):
            label = clock(round(duration * k / 6))
            shift = font.getlength(label) * k / 6
            draw.text((x + room * k / 6 - shift, y + height + 6), label, SOFT, font)


def _paste(sheet: Image, picture: np.ndarray, place: tuple[int, int], size: tuple[int, int]) -> None:
    """A picture cut to fill a rectangle."""
    from PIL import Image, ImageOps

    sheet.paste(ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS), place)
