"""What a paper file is made of, read from its imports, and a fingerprint of all the code that its claim rests on."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOUSE = Path(__file__).parent.parent
MACHINERY = ("papers", "evals", "training", "testing")
"""Rooms that run experiments; what a paper is made of comes from the others."""


@dataclass(frozen=True, order=True)
class Part:
    """Something that a file imports from seefar: its file, relative to the package, and its name there."""

    file: str
    name: str

    @property
    def room(self) -> str:
        return self.file.split("/")[0].removesuffix(".py")


def parts(path: Path) -> list[Part]:
    """The shared parts that a paper file is composed of, sorted."""
    return sorted({part for part in _imported(path) if part.room not in MACHINERY})


def fingerprint(path: Path) -> str:
    """A hash of a file's code and of every file of seefar that it imports, directly or not; words do not count.

    Docstrings, comments and layout are left out, so that only a change that can change a result makes it stale. Shipped
    weights count where a file names them.
    """
    digest = hashlib.sha256()
    for file in sorted(_reached(path.resolve())):
        digest.update(file.relative_to(HOUSE).as_posix().encode())
        digest.update(_bare(file).encode())
        for weights in sorted((file.parent / "weights").glob("*")):
            if repr(weights.name) in _bare(file):
                digest.update(weights.read_bytes())
    return digest.hexdigest()[:16]


def _reached(path: Path) -> set[Path]:
    """The file itself and all of seefar behind it."""
    done: set[Path] = set()
    left = [path]
    while left:
        file = left.pop()
        if file in done:
            continue
        done.add(file)
        left += [HOUSE / part.file for part in _imported(file)]
    return done


@cache
def _bare(path: Path) -> str:
    """A file as its syntax alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [each for each in body if not _is_words(each)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_words(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _imported(path: Path) -> tuple[Part, ...]:
    """Every name that a file imports from seefar, traced to the file that defines it."""
    found: list[Part] = []
    for module, name in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        found += _defined(module, name)
    return tuple(found)


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of what runs; imports for the type checker do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "seefar":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.startswith("seefar."))
        else:
            yield from _imports(node)


def _defined(module: str, name: str) -> list[Part]:
    """Where ``from module import name`` finds it: re-exports are followed to the file that they come from."""
    base = HOUSE.joinpath(*module.split(".")[1:])
    for submodule in (base / f"{name}.py", base / name / "__init__.py"):
        if name and submodule.exists():
            return [Part(submodule.relative_to(HOUSE).as_posix(), "")]
    if base.with_suffix(".py").exists():
        return [Part(base.with_suffix(".py").relative_to(HOUSE).as_posix(), name)]
    door = base / "__init__.py"
    if not door.exists():
        return []
    exported = [m for m, n in _imports(ast.parse(door.read_text(encoding="utf-8"))) if n == name]
    if exported and exported[0] != module:
        return _defined(exported[0], name)
    return [Part(door.relative_to(HOUSE).as_posix(), name)]
