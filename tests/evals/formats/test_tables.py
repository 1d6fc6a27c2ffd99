"""Rows are the same whatever file they come from, and a wrong file is named."""

import json

import pytest

from seefar.evals.formats.tables import read_rows

ROWS = [{"id": "a", "text": 'two\nlines, a\ttab and "quotes"'}, {"id": "b", "text": "line\u2028end"}]


def test_every_format_gives_the_same_rows(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n")
    for name, mark in (("rows.tsv", "\t"), ("rows.csv", ",")):
        quoted = ['"' + row["text"].replace('"', '""') + '"' for row in ROWS]
        lines = [f"{row['id']}{mark}{text}" for row, text in zip(ROWS, quoted, strict=True)]
        (tmp_path / name).write_text(f"\ufeffid{mark}text\n" + "\n".join(lines), encoding="utf-8")
    assert all(read_rows(path) == ROWS for path in tmp_path.iterdir())


def test_files_that_are_no_tables_are_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    with pytest.raises(ValueError, match=r"rows.json: lacks the columns \['key'\]; it has \['id', 'text'\]"):
        read_rows(path, ["id", "key"])
    for text in ("[]", "{}", "[1]"):
        path.write_text(text)
        with pytest.raises(ValueError, match="holds no rows"):
            read_rows(path)
    with pytest.raises(ValueError, match="give one of"):
        read_rows(tmp_path / "rows.xlsx")
