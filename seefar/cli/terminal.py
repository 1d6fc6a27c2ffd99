"""What a person sees: progress bars, answers, plans and warnings in a terminal.

Results go to standard output; everything said on the way goes to standard error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from seefar.vlm.answer import Answer, Cost, Plan, Progress, clock

MOST_MOMENTS = 5
BAR_WIDTH = 10


def out() -> Console:
    """Where results are printed."""
    return Console(highlight=False, markup=False, emoji=False)


def aside() -> Console:
    """Where everything else is said."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """One bar for each stage, on standard error, and only where that is a terminal."""
    console = aside()
    columns = (TextColumn("{task.description}", style="dim"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress


def parse_tokens(text: str | int) -> int:
    """A count of tokens as people write it.

    >>> parse_tokens("4096"), parse_tokens("8k"), parse_tokens("1.5K")
    (4096, 8192, 1536)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kK]?)", str(text).strip().replace(",", "").replace("_", ""))
    tokens = float(match[1]) * (1024 if match[2] else 1) if match else 0.0
    if tokens < 1 or tokens != int(tokens):
        raise ValueError(f"--budget: {text!r} is no number of tokens; type for example 4096, or 8k for 8192")
    return int(tokens)


def size(count: float) -> str:
    """Bytes as people read them.

    >>> size(512), size(734_003_200), size(1_288_490_189)
    ('512 B', '700 MB', '1.2 GB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GB"


def stretch(start: float, end: float) -> str:
    """A moment's time: one clock for an instant, two for a stretch.

    >>> stretch(65, 65), stretch(65, 71.5)
    ('01:05', '01:05 – 01:11.5')
    """
    first, last = clock(start), clock(end)
    return first if first == last else f"{first} – {last}"


def show_answer(console: Console, answer: Answer, budget: int) -> None:
    """The question, the answer, the moments with score bars, the bill and the warnings."""
    console.print(Text(answer.question, style="bold"), soft_wrap=True)
    console.print(Text(f"  {answer.text}", style="green"), soft_wrap=True)
    times = [stretch(moment.start, moment.end) for moment in answer.moments[:MOST_MOMENTS]]
    for when, moment in zip(times, answer.moments, strict=False):
        line = Text(f"    {when:<{max(map(len, times))}}  ")
        line.append(score_bar(moment.score), style="cyan")
        line.append(f" {moment.score:.2f}")
        if moment.text:
            line.append(f"  “{_one_line(moment.text)}”", style="italic")
        console.print(line, soft_wrap=True)
    if len(answer.moments) > MOST_MOMENTS:
        console.print(Text(f"    and {len(answer.moments) - MOST_MOMENTS} more", style="dim"))
    console.print(Text(f"    {bill(answer.cost, budget)}", style="dim"), soft_wrap=True)


def show_warnings(console: Console, answers: Sequence[Answer]) -> None:
    """Each warning of the answers once."""
    for warning in dict.fromkeys(warning for answer in answers for warning in answer.warnings):
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)


def show_plans(console: Console, plans: Sequence[tuple[str, Plan]]) -> None:
    """What answers would take, one row for each way of asking."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for heading in ("plan", "frames", "visual tokens", "key-value cache", "weights", "seconds"):
        table.add_column(heading, justify="left" if heading == "plan" else "right", no_wrap=True)
    for name, plan in plans:
        seconds = sum(plan.seconds.values())
        cells = (
            f"{plan.frames:,}",
            f"{plan.visual_tokens:,}",
            size(plan.kv_bytes),
            size(plan.weight_bytes),
            f"{seconds:.0f}",
        )
        table.add_row(name, *cells)
    console.print(table)
    for warning in dict.fromkeys(warning for _, plan in plans for warning in plan.warnings):
        console.print(Text(f"! {warning}", style="yellow"), soft_wrap=True)


def bill(cost: Cost, budget: int) -> str:
    """An answer's cost in one line."""
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in cost.seconds.items() if seconds >= 0.05)
    return " · ".join(
        [
            f"frames {cost.frames_seen:,} seen, {cost.frames_kept:,} kept",
            f"tokens {cost.tokens_seen:,} seen, {cost.tokens_kept:,} kept of {budget:,}",
            f"{sum(cost.seconds.values()):.1f} s" + (f" ({stages})" if stages else ""),
            f"peak {size(cost.peak_bytes)}",
        ]
    )


def score_bar(score: float) -> str:
    """A score in [0, 1] as a bar of ten cells.

    >>> score_bar(0.62)
    '██████▎···'
    """
    eighths = round(min(1.0, max(0.0, score)) * BAR_WIDTH * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + " ▏▎▍▌▋▊▉"[rest].strip()).ljust(BAR_WIDTH, "·")


def _one_line(text: str, width: int = 100) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
