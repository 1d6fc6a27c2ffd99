"""README.md shows what results/ says, and nothing that was typed."""

import json
import re
from pathlib import Path

import pytest

from seefar.evals import readme
from seefar.evals.readme import MODULES, TABLES, main, render

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def tables(monkeypatch):
    """Each bench's table is its result in one cell, or plain text for ops."""
    monkeypatch.setattr(
        readme,
        "_table_of",
        lambda name, result: f"{name}: {result}" if name == "ops" else f"Of {name}:\n\n| {result} |",
    )


@pytest.mark.parametrize("page", ["README.md", "docs/which-mixer.md"])
def test_a_page_is_up_to_date_with_results(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == render(text, ROOT / "results"), "run: make docs"


def test_every_bench_has_its_place():
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/which-mixer.md"))
    assert sorted(re.findall(r"<!-- bench:([\w-]+) -->", text)) == sorted(TABLES)
    assert text.count("<!-- /bench -->") == len(TABLES)


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    typed = re.sub(r"<!-- bench:.*?<!-- /bench -->", "", text, flags=re.DOTALL)
    assert len(typed.splitlines()) <= 120
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if link != "results/needle.png":
            assert (ROOT / link).is_file(), link


def test_every_command_of_the_readme_exists():
    from typer.main import get_command

    from seefar.cli import app

    text = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    verbs = set(get_command(app).commands)
    assert (
        set(re.findall(r"^seefar (\w+)|`seefar (\w+)", text, re.MULTILINE))
        - {(v, "") for v in verbs}
        - {("", v) for v in verbs}
        == set()
    )
    options = {name for verb in get_command(app).commands.values() for p in verb.params for name in p.opts}
    assert set(re.findall(r"^seefar .*?(--[a-z]+)", text, re.MULTILINE)) <= options
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)\b", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_a_block_is_filled_from_its_result_and_again_when_it_changes(tmp_path, tables):
    (tmp_path / "bench_ask.json").write_text(json.dumps(0.97))
    text = "before\n<!-- bench:ask -->\nold figure 0.11\n<!-- /bench -->\nafter\n"
    once = render(text, tmp_path)
    assert once == "before\n<!-- bench:ask -->\nOf ask:\n\n| 0.97 |\n\nBy `seefar bench ask`.\n<!-- /bench -->\nafter\n"
    assert render(once, tmp_path) == once
    (tmp_path / "bench_ask.json").write_text(json.dumps(0.98))
    assert "0.98" in render(once, tmp_path) and "0.97" not in render(once, tmp_path)


def test_a_table_that_is_no_markdown_is_fenced(tmp_path, tables):
    (tmp_path / "bench_ops.json").write_text("1")
    assert "```text\nops: 1\n```" in render("<!-- bench:ops -->\n<!-- /bench -->\n", tmp_path)


def test_a_bench_that_was_not_run_says_so(tmp_path):
    assert "Not run yet: `seefar bench needle`." in render("<!-- bench:needle -->\n<!-- /bench -->\n", tmp_path)


def test_an_unknown_bench_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown bench 'speed', expected one of \['ask'"):
        render("<!-- bench:speed -->\n<!-- /bench -->\n", tmp_path)


def test_the_file_is_rewritten_in_place(tmp_path, tables):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "bench_ask.json").write_text("0.5")
    file = tmp_path / "README.md"
    file.write_text("é\n<!-- bench:ask -->\n<!-- /bench -->\n", encoding="utf-8")
    main(str(file), results=tmp_path / "results")
    assert "| 0.5 |" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_bench_can_print_its_table(name):
    from importlib import import_module

    module = import_module(f"seefar.evals.{MODULES[name]}")
    assert callable(module.run) and callable(module.table)
