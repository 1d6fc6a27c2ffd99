"""The command line: ``seefar demo | ask | bench | paper | doctor``.

Nothing heavy is imported before a verb runs, so that ``seefar --help`` answers at once. Errors of the user are one line
on standard error and exit code 2; Ctrl-C is exit code 130.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

P = ParamSpec("P")

app = typer.Typer(
    name="seefar",
    help="Ask hours of video anything, with any vision-language model, inside a fixed token budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(
    help="Measure seefar on this machine; each bench writes results/bench_NAME.json.", no_args_is_help=True
)
app.add_typer(bench, name="bench")
paper = typer.Typer(help="The papers behind seefar: what each claims, and whether it holds here.", no_args_is_help=True)
app.add_typer(paper, name="paper")

Quick = Annotated[
    bool, typer.Option("--quick", help="A small version, to see that it runs; its figures are not comparable.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the figures and pictures.", file_okay=False)]

_debug = False


def main() -> None:
    """What the ``seefar`` command runs; ``--debug`` may stand anywhere on the line."""
    words = sys.argv[1:]
    app(["--debug", *(word for word in words if word != "--debug")] if "--debug" in words else words)


def _version(asked: bool) -> None:
    if asked:
        import seefar

        typer.echo(f"seefar {seefar.__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    global _debug
    _debug = debug


def verb(stopped: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Turns the user's errors into one line and exit code 2, and Ctrl-C into ``stopped`` and exit code 130."""

    def around(command: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                command(*args, **kwargs)
            except KeyboardInterrupt:
                typer.echo(f"\n{stopped}", err=True)
                raise typer.Exit(130) from None
            except (ValueError, OSError, ImportError) as error:
                if _debug:
                    raise
                typer.echo(typer.style(str(error), fg="red"), err=True)
                raise typer.Exit(2) from None

        return run

    return around


@app.command("demo")
@verb("Stopped. Films already rendered stay in the folder and are used next time.")
def run_demo(
    minutes: Annotated[float, typer.Option("--minutes", help="Length of each film.")] = 60.0,
    folder: Annotated[
        Path, typer.Option("--folder", help="Where the films and the pictures go.", file_okay=False)
    ] = Path("demo"),
) -> None:
    """Render an hour of film with known contents, ask it questions, and leave pictures of what was seen."""
    from seefar.cli.demo import run

    raise typer.Exit(run(folder, minutes))


@app.command("ask")
@verb("Stopped before the answer; nothing was written.")
def run_ask(
    video: Annotated[
        str,
        typer.Argument(metavar="VIDEO", help="A film, an animated GIF, an image, a folder of frames, or - for a pipe."),
    ],
    question: Annotated[
        list[str] | None, typer.Argument(metavar="QUESTION", help="One or more, each in quotes.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="auto, reader, pico, a Hugging Face id, or a folder.")] = "auto",
    budget: Annotated[
        str, typer.Option("--budget", metavar="TOKENS", help="Visual tokens at most; 8k is 8192.")
    ] = "4096",
    fps: Annotated[float, typer.Option("--fps", help="Frames a second to look at.")] = 1.0,
    recipe: Annotated[str | None, typer.Option("--recipe", metavar="NAME", help="How frames become tokens.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would cost.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Also write a page with the evidence.")
    ] = None,
) -> None:
    """Answer questions about a film, with the moments each answer rests on and what it cost."""
    from seefar.cli import ask
    from seefar.cli.terminal import parse_tokens

    request = ask.Request(video, tuple(question or ()), model, parse_tokens(budget), fps, recipe, as_json)
    if plan and report is not None:
        raise ValueError("--report needs an answer; leave --plan out")
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        result = ask.plan(request) if plan else ask.answer(request, report)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))


@app.command("doctor")
@verb("Stopped.")
def run_doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Say what is installed, active and broken on this machine, and the one command that fixes each."""
    from seefar.cli.doctor import run

    raise typer.Exit(run(as_json))


STOPPED_BENCH = "Stopped. Figures of this bench were not written; those of finished ones stand."


BENCHES = {
    "needle": "How often a picture shown for a moment is found, by depth and length of the film; leaves needle.png.",
    "ask": "How well pico answers about films of an hour, against its controls at the same budget.",
    "ops": "How fast the scans are, beside other people's, in one process.",
    "decode": "What the attention of the next token costs behind a long cache: picked keys beside all (a minute).",
    "ingest": "How fast films are read, beside plain PyAV.",
    "read": "How well reader answers about lectures and screen recordings of an hour.",
    "layers": "How fast whole Mamba layers are, beside those of transformers with the same weights.",
    "forms": "From how many tokens on attention by sums is faster than by pairs, and by how much at 65,536.",
    "convs": "How fast causal dilated convolutions are, beside one convolution of PyTorch a level.",
    "mixers": "What each mixer recalls and costs, by the length of the sequence (over half an hour).",
}
"""Name of a bench -> what it tells."""


def _add_bench(name: str, tells: str) -> None:
    @bench.command(name, help=tells)
    @verb(STOPPED_BENCH)
    def measure(quick: Quick = False, out: Out = Path("results")) -> None:
        from seefar.cli.bench import run

        run(name, out, quick)


for _name, _tells in BENCHES.items():
    _add_bench(_name, _tells)


Results = Annotated[Path, typer.Option("--results", help="Folder of the result files.", file_okay=False)]
Slug = Annotated[str, typer.Argument(metavar="PAPER", help="Its short name, such as vim; see: seefar paper list")]


@paper.command("list")
@verb("Stopped.")
def list_papers(
    only_built: Annotated[bool, typer.Option("--built", help="Only those that are built.")] = False,
    results: Results = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """All papers with kind, room and state."""
    from seefar.cli.paper import listing

    typer.echo(listing(results, only_built=only_built, as_json=as_json))


@paper.command("show")
@verb("Stopped.")
def show_paper(slug: Slug, results: Results = Path("results")) -> None:
    """Card, parts, file and result of one paper."""
    from seefar.papers._pages import show

    typer.echo(show(slug, results))


@paper.command("claim")
@verb("Stopped. Finished trials are kept; the same command goes on.")
def claim_paper(
    slug: Slug,
    scale: Annotated[str, typer.Option("--scale", help="smoke (seconds), cpu (minutes) or gpu.")] = "cpu",
    results: Results = Path("results"),
) -> None:
    """Run the headline of a paper as an experiment and write its result."""
    from seefar.cli.paper import claim

    claim(slug, scale, results)
