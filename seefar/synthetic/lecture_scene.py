"""The scenes of a rendered lecture or screen recording: slides, editors, terminals, articles, a speaker."""

from __future__ import annotations

from typing import Any

import numpy as np

from seefar.synthetic.lecture_page import FACES, Colour, Line, Page, typeface, wrap
from seefar.synthetic.lecture_topics import Topic

PAPERS: tuple[tuple[Colour, Colour, Colour], ...] = (  # paper, text, title
    ((244, 244, 244), (24, 24, 24), (20, 40, 120)),
    ((236, 230, 214), (48, 36, 24), (128, 36, 24)),
    ((22, 28, 46), (226, 230, 236), (250, 200, 70)),
    ((28, 62, 54), (236, 240, 232), (250, 240, 160)),
    ((222, 232, 240), (16, 30, 48), (12, 84, 96)),
)
REMARKS = ("Any questions so far?", "Ten minutes of break", "Welcome back", "Let us move on", "Thank you for coming")


def slide(topic: Topic, rng: np.random.Generator, size: tuple[int, int], seconds: float, build: bool) -> Page:
    """A slide with its title and bullet points, perhaps one after the other, perhaps beside a figure."""
    width, height = size
    unit = height / 540
    back, ink, head = PAPERS[rng.integers(len(PAPERS))]
    face = FACES[rng.integers(len(FACES))]
    paper = _sheet(back, size, rng)
    figure = rng.random() < 0.4
    room = width * (0.52 if figure else 0.76)
    if figure:
        _figure(paper, rng, (round(width * 0.64), round(height * 0.26), round(width * 0.92), round(height * 0.62)), ink)
    left, y = 60 * unit, 44 * unit
    title = typeface(face, 34 * unit)
    lines = []
    for row in wrap(topic.title, title, width * 0.82):
        lines.append(Line(row, left, y, title, head, mark=0))
        y += 44 * unit
    y += 26 * unit
    font = typeface(face, float(rng.uniform(21, 25)) * unit)
    times = np.linspace(0, seconds * 0.6, len(topic.lines) + 1)[1:] if build else np.zeros(len(topic.lines))
    for mark, (text, appear) in enumerate(zip(topic.lines, times, strict=True), 1):
        for place, row in enumerate(wrap(text, font, room)):
            lines.append(
                Line(
                    row if place else "• " + row,
                    left + (22 * unit if place else 0),
                    y,
                    font,
                    ink,
                    float(appear),
                    mark=mark,
                )
            )
            y += 33 * unit
        y += 22 * unit
    return Page(paper, lines, (0, height), paper, blur=float(rng.choice([0.0, 0.0, 0.5, 0.9])))


def chart(rng: np.random.Generator, size: tuple[int, int]) -> Page:
    """A page that is all figure, with numbers on its axis and no subject."""
    width, height = size
    back, ink, _ = PAPERS[rng.integers(len(PAPERS))]
    paper = _sheet(back, size, rng)
    _figure(paper, rng, (round(width * 0.15), round(height * 0.12), round(width * 0.85), round(height * 0.82)), ink)
    font = typeface("DejaVuSans", 16 * height / 540)
    lines = [Line(str(10 * k), width * (0.15 + 0.14 * k), height * 0.85, font, ink) for k in range(6)]
    return Page(paper, lines, (0, height), paper)


def remark(rng: np.random.Generator, size: tuple[int, int]) -> Page:
    """A page that says nothing about any subject."""
    back, ink, _ = PAPERS[rng.integers(len(PAPERS))]
    paper = _sheet(back, size, rng)
    font = typeface(FACES[rng.integers(len(FACES))], 40 * size[1] / 540)
    line = Line(REMARKS[rng.integers(len(REMARKS))], size[0] * 0.2, size[1] * 0.42, font, ink)
    return Page(paper, [line], (0, size[1]), paper)


def editor(topic: Topic, rng: np.random.Generator, size: tuple[int, int], seconds: float) -> Page:
    """An editor in which a file is typed, line after line."""
    font = typeface("DejaVuSansMono", float(rng.uniform(16, 18)) * size[1] / 540)
    paper, frame, top, ink, dim = _window(topic.title, rng, size)
    unit = size[1] / 540
    rows = [(text, mark) for mark, text in enumerate(topic.lines, 1)]
    speed, pause = _pace(sum(len(text) for text, _ in rows), len(rows), seconds)
    lines, now = [], 2.0
    for k, (text, mark) in enumerate(rows):
        y = (18 + 30 * k) * unit
        lines.append(Line(f"{k + 1:2d}", 12 * unit, y, font, dim))
        indent = len(text) - len(text.lstrip())
        x = 56 * unit + font.getlength(" ") * indent
        lines.append(Line(text.lstrip(), x, y, font, ink, now, speed, mark))
        now = lines[-1].written() + pause
    return Page(paper[: size[1] - top], lines, (top, size[1] - top), frame)


def terminal(
    session: list[Topic], rng: np.random.Generator, size: tuple[int, int], seconds: float
) -> tuple[Page, list[float]]:
    """A terminal in which sessions follow each other and scroll away; also the second at which each one begins."""
    font = typeface("DejaVuSansMono", float(rng.uniform(15, 17)) * size[1] / 540)
    unit = size[1] / 540
    pitch = 27 * unit
    rows = [(owner, mark, text) for owner, topic in enumerate(session) for mark, text in enumerate(topic.lines, 1)]
    frame, top = _window("Terminal", np.random.default_rng(1), size)[1:3]  # always dark
    height = size[1] - top
    paper = np.full((max(height, round((len(rows) + 2) * pitch)), size[0], 3), (20, 22, 24), np.uint8)
    lines: list[Line] = []
    begins: list[float] = []
    scroll, now = [(0.0, 0.0)], 2.0
    share = seconds * 0.85 / len(rows)
    for k, (owner, mark, text) in enumerate(rows):
        if owner == len(begins):
            begins.append(now)
        command = text.startswith("$")
        y = 8 * unit + k * pitch
        offset = max(0.0, y + 2 * pitch - height)
        if offset > scroll[-1][1]:
            scroll += [(now - 0.05, scroll[-1][1]), (now, offset)]
        lines.append(
            Line(
                text,
                14 * unit,
                y,
                font,
                (120, 220, 130) if command else (214, 218, 222),
                now,
                9.0 if command else 0.0,
                owner * 10 + mark,
            )
        )
        now = max(now + share, lines[-1].written() + 1.0)
    return Page(paper, lines, (top, height), frame, scroll), begins


def article(topic: Topic, rng: np.random.Generator, size: tuple[int, int], seconds: float, typed: bool) -> Page:
    """A web page that is scrolled through, or notes that are being typed."""
    unit = size[1] / 540
    face = "DejaVuSans" if typed else FACES[rng.integers(3)]
    title, font = typeface(face, 27 * unit), typeface(face, float(rng.uniform(18, 21)) * unit)
    paper, frame, top, ink, dim = _window("notes.md" if typed else "Encyclopedia - Browser", rng, size)
    gap = (40 if typed else float(rng.choice([40, 110]))) * unit
    speed, pause = (
        _pace(sum(map(len, (topic.title, *topic.lines))), 1 + len(topic.lines), seconds) if typed else (0.0, 0.0)
    )
    lines, y, now = [], 20 * unit, 1.0 if typed else 0.0
    for mark, text in enumerate((topic.title, *topic.lines)):
        for row in wrap(text, font if mark else title, size[0] * 0.8):
            lines.append(Line(row, 60 * unit, y, font if mark else title, ink if mark else dim, now, speed, mark))
            now = lines[-1].written() + pause
            y += 34 * unit
        y += gap
    height = size[1] - top
    tall = max(height, round(y + 40 * unit))
    sheet = np.repeat(paper[:1], tall, 0)
    far = float(tall - height)
    scroll = ((0.0, 0.0), (seconds * 0.4, 0.0), (seconds * 0.4 + 1.5, far)) if far else ((0.0, 0.0),)
    return Page(sheet, lines, (top, height), frame, scroll)


def _pace(letters: int, rows: int, seconds: float) -> tuple[float, float]:
    """Characters a second and the pause between rows, so that typing ends well before the scene does."""
    speed = max(7.0, letters / (seconds * 0.5))
    return speed, max(0.3, min(4.0, (seconds * 0.8 - letters / speed) / rows))


def _window(
    title: str, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, int, Colour, Colour]:
    """Empty paper, the frame with the title bar drawn, the height of the bar, and two inks."""
    from PIL import Image, ImageDraw

    dark = rng.random() < 0.55
    back: Colour = (30, 32, 36) if dark else (242, 243, 244)
    ink: Colour = (220, 222, 224) if dark else (28, 30, 34)
    dim: Colour = (120, 170, 220) if dark else (30, 70, 150)
    top = round(34 * size[1] / 540)
    frame = Image.new("RGB", size, (62, 66, 74))
    pen = ImageDraw.Draw(frame)
    for k, dot in enumerate([(230, 90, 80), (230, 190, 70), (90, 200, 90)]):
        pen.ellipse((12 + 22 * k, top / 2 - 6, 24 + 22 * k, top / 2 + 6), fill=dot)
    pen.text((100, top / 2), title, font=typeface("DejaVuSans", top * 0.44), fill=(222, 224, 228), anchor="lm")
    return np.full((size[1], size[0], 3), back, np.uint8), np.array(frame), top, ink, dim


def _sheet(back: Colour, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Paper with a slight fall of light across it."""
    width, height = size
    fall = (
        np.linspace(0, rng.uniform(-14, 14), width)[None, :, None]
        + np.linspace(0, rng.uniform(-10, 10), height)[:, None, None]
    )
    return np.clip(np.array(back) + fall, 12, 243).astype(np.uint8)


def _figure(paper: np.ndarray, rng: np.random.Generator, box: tuple[int, int, int, int], ink: Colour) -> None:
    """A plot or bars, without words."""
    from PIL import Image, ImageDraw

    sheet = Image.fromarray(paper)
    pen: Any = ImageDraw.Draw(sheet)
    x0, y0, x1, y1 = box
    pen.line([(x0, y0), (x0, y1), (x1, y1)], fill=ink, width=3)
    if rng.random() < 0.5:
        xs = np.linspace(x0, x1, 60)
        ys = (y0 + y1) / 2 + (y1 - y0) * 0.4 * np.sin(xs / rng.uniform(20, 70) + rng.uniform(0, 6)) * rng.uniform(
            0.5, 1
        )
        pen.line([(float(x), float(y)) for x, y in zip(xs, ys, strict=True)], fill=(210, 60, 50), width=4)
    else:
        for k in range(6):
            left = x0 + (x1 - x0) * (k + 0.2) / 6
            pen.rectangle(
                (left, y1 - (y1 - y0) * rng.uniform(0.1, 0.95), left + (x1 - x0) * 0.1, y1 - 2), fill=(70, 130, 180)
            )
    paper[:] = np.asarray(sheet)
