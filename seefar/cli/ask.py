"""``seefar ask``: what an answer would cost, or the answer itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seefar import media
from seefar.cli.terminal import aside, out, progress_bars, show_answer, show_plans, show_warnings
from seefar.vlm import ask as door


@dataclass(frozen=True)
class Request:
    """What was typed; ``quiet`` keeps standard output clean for JSON."""

    video: str
    questions: tuple[str, ...]
    model: str
    budget: int
    fps: float
    recipe: str | None
    quiet: bool


def plan(request: Request) -> dict[str, Any]:
    """Prints frames, tokens, bytes and seconds; loads no weights."""
    planned = door.plan(request.video, request.model, budget=request.budget, fps=request.fps, recipe=request.recipe)
    if not request.quiet:
        show_plans(out(), [(planned.model, planned)])
    return {"video": request.video, "plan": asdict(planned)}


def answer(request: Request, report: Path | None) -> dict[str, Any]:
    """Prints the answers, and writes the page that shows their evidence where one is asked for."""
    door.check_questions(request.questions)
    door.check_limits(request.budget, request.fps)
    if report is not None and not report.absolute().parent.is_dir():
        raise ValueError(f"--report: there is no folder {report.absolute().parent}")
    with media.open(request.video) as film:
        chosen = {"asked": request.model, "used": request.model}
        if request.model == "auto":
            choice = door.choose(film)
            chosen |= {"used": choice.name, "why": choice.why}
            aside().print(f"model: {choice.name}, because {choice.why}", style="dim", soft_wrap=True)
        with progress_bars() as progress:
            answers = door.ask(
                film,
                request.questions,
                model=chosen["used"],
                budget=request.budget,
                fps=request.fps,
                recipe=request.recipe,
                progress=progress,
            )
        if not request.quiet:
            for number, given in enumerate(answers):
                out().print("\n" * bool(number), end="")
                show_answer(out(), given, request.budget)
        show_warnings(aside(), answers)
        if report is not None:
            from seefar.vlm.report import write_report

            write_report(report, film, answers)
            aside().print(f"report: {report}", style="dim", soft_wrap=True)
    return {
        "video": request.video,
        "model": chosen,
        "budget": request.budget,
        "answers": [asdict(given) for given in answers],
    }
