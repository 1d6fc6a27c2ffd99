"""What every paper file declares and returns: its card, the size of an experiment, its verdict; and the list of all."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

T = TypeVar("T")
State = Literal["holds", "partly", "fails", "not run"]
KINDS = ("system", "benchmark", "training recipe", "analysis", "theory", "survey", "dataset")
SCALES = ("smoke", "cpu", "gpu")


@dataclass(frozen=True)
class Seed:
    """A paper of the list, built or not.

    Args:
        number: its place in the list. slug: its name on the command line.
        kind: one of ``KINDS``. room: where its decisive part lives. section: the group it was studied in.
    """

    number: int
    slug: str
    kind: str
    room: str
    title: str
    arxiv: str
    section: str

    @property
    def built(self) -> bool:
        """Whether seefar has a file for it."""
        return (resources.files("seefar.papers") / f"{self.file}.py").is_file()

    @property
    def file(self) -> str:
        return self.slug.replace("-", "_")


@dataclass(frozen=True)
class Card:
    """What a paper says and what would count as showing it, written before the experiment is run.

    Args:
        number: in the list of all papers.
        published: the figure the paper reports, with its setting.
        holds_when: the bars, in words; the claim checks each of them.
        control: the arm that must not pass them.
        code: owner/name of the authors' repository, None where there is none.
    """

    number: int
    title: str
    arxiv: str
    code: str | None
    published: str
    holds_when: str
    control: str


@dataclass(frozen=True)
class Scale:
    """How large an experiment is: ``smoke`` for seconds, ``cpu`` for minutes, ``gpu``.

    Args:
        seeds: one run of every arm each.
        folder: where finished trials are kept, so that a stopped claim goes on; None keeps nothing.
        progress: called as ``progress(stage, done, total)``.
    """

    name: str
    seeds: tuple[int, ...] = (0, 1, 2)
    folder: Path | None = None
    progress: Callable[[str, int, int | None], None] | None = None

    def __post_init__(self) -> None:
        if self.name not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {self.name!r}")
        if not self.seeds:
            raise ValueError("Scale: at least one seed is needed, such as (0,)")

    def pick(self, smoke: T, cpu: T, gpu: T | None = None) -> T:
        """The value for this scale; ``gpu`` defaults to that of ``cpu``."""
        return {"smoke": smoke, "cpu": cpu, "gpu": cpu if gpu is None else gpu}[self.name]


@dataclass(frozen=True)
class Verdict:
    """What an experiment found.

    Args:
        figures: everything measured, as plain values.
        checks: each bar and whether it was reached.
        controls: each control arm and whether it fell short, as it must.
        note: why it failed, or what it does not show.
    """

    figures: Mapping[str, Any]
    checks: Mapping[str, bool]
    controls: Mapping[str, bool]
    note: str = ""

    def __post_init__(self) -> None:
        if not self.checks or not self.controls:
            raise ValueError("Verdict: an experiment needs a bar and a control arm that must not pass it")

    @property
    def state(self) -> State:
        """``holds``: every bar reached, every control short of it. ``partly``: some bars. Else ``fails``."""
        if not all(self.controls.values()) or not any(self.checks.values()):
            return "fails"
        return "holds" if all(self.checks.values()) else "partly"


@dataclass(frozen=True)
class Paper:
    """A paper that is built: its place in the list, its card and its module."""

    seed: Seed
    card: Card
    module: ModuleType = field(repr=False)

    @property
    def path(self) -> Path:
        assert self.module.__file__ is not None
        return Path(self.module.__file__)

    def claim(self, scale: Scale) -> Verdict:
        """Run the paper's headline."""
        verdict: Verdict = self.module.claim(scale)
        return verdict


@cache
def seeds() -> tuple[Seed, ...]:
    """All papers, by number."""
    text = (resources.files("seefar.papers") / "seeds.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(Seed(int(row.pop("number")), **row) for row in rows)


def find(slug: str) -> Seed:
    """The paper of this slug; hyphens and underscores are the same.

    Raises:
        ValueError: no such paper; the message names those that look alike.
    """
    from difflib import get_close_matches

    known = {seed.file: seed for seed in seeds()}
    asked = slug.lower().replace("-", "_")
    if asked in known:
        return known[asked]
    near = get_close_matches(asked, known, 3, 0.5)
    hint = f"did you mean {' or '.join(known[name].slug for name in near)}?" if near else "see: seefar paper list"
    raise ValueError(f"no paper is called {slug!r}; {hint}")


def load(slug: str) -> Paper:
    """The file of a paper.

    Raises:
        ValueError: there is no such paper, or it is not built yet.
    """
    seed = find(slug)
    if not seed.built:
        raise ValueError(f"{seed.slug} is on the list but not built yet; see those that are: seefar paper list --built")
    module = importlib.import_module(f"seefar.papers.{seed.file}")
    return Paper(seed, module.CARD, module)


def built() -> list[Paper]:
    """Every paper that is built, by number."""
    return [load(seed.slug) for seed in seeds() if seed.built]
