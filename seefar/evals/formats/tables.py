"""Rows of published benchmark files, whichever of the usual formats they come in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_rows(path: str | Path, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows of a .json (a list), .jsonl, .parquet, .tsv or .csv file; in the last two every value is a text.

    Args:
        path: of the file; .parquet needs pyarrow or pandas.
        columns: that the first row must have.

    Raises:
        ImportError: a parquet file, and nothing that reads it is installed.
        ValueError: an unknown format, no rows, or a column is missing.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(f"{path}: cannot read {path.suffix!r}; give one of {', '.join(_READERS)}")
    rows = _READERS[path.suffix](path)
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], dict):
        raise ValueError(f"{path}: holds no rows; expected a list of records")
    missing = [name for name in columns if name not in rows[0]]
    if missing:
        raise ValueError(f"{path}: lacks the columns {missing}; it has {sorted(rows[0])}")
    return rows


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in _text(path).split("\n") if line.strip()]


def _separated(path: Path) -> list[Any]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return list(csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter))


def _parquet(path: Path) -> list[Any]:
    try:
        from pyarrow.parquet import read_table
    except ImportError:
        try:
            from pandas import read_parquet

            return list(read_parquet(path).to_dict("records"))
        except ImportError as error:
            raise ImportError(f"{path}: nothing here reads parquet: pip install pyarrow") from error
    return list(read_table(path).to_pylist())


_READERS = {
    ".json": lambda path: json.loads(_text(path)),
    ".jsonl": _lines,
    ".tsv": _separated,
    ".csv": _separated,
    ".parquet": _parquet,
}
