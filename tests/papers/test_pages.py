"""The pages about papers are made from cards, imports and results, and stand as they were made."""

import re
import shutil
from pathlib import Path

from seefar.papers import _pages
from seefar.papers._card import built, seeds

ROOT = Path(__file__).parents[2]


def test_the_pages_in_the_repository_are_those_that_would_be_made():
    for name, text in _pages.pages(ROOT / "results").items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name} is old: make papers"
    on_disk = {page.stem for page in (ROOT / "docs" / "papers").glob("*.md")}
    assert on_disk == {paper.seed.slug for paper in built()}
    readme = (ROOT / "README.md").read_text()
    assert _pages.fill(readme, ROOT / "results") == readme, "README.md is old: make papers"


def test_every_paper_stands_in_the_table_and_every_part_leads_back(tmp_path):
    made = _pages.pages(tmp_path)
    assert all(f"| {seed.number} | " in made["papers.md"] for seed in seeds())
    for paper in built():
        assert f"papers/{paper.seed.slug}.md" in made["papers.md"]
        assert f"papers/{paper.seed.slug}.md" in made["parts.md"]
        assert "seefar/" in made[f"papers/{paper.seed.slug}.md"]


def test_pages_of_papers_that_are_gone_are_removed(tmp_path):
    old = tmp_path / "docs" / "papers" / "gone.md"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    _pages.write(tmp_path / "docs", tmp_path / "results")
    assert not old.exists() and (tmp_path / "docs" / "papers.md").exists()


def test_every_picture_that_a_page_shows_is_there():
    folder = ROOT / "docs" / "papers"
    shown = {
        name for page in folder.glob("*.md") for name in re.findall(r"^!\[.*\]\((.+\.svg)\)$", page.read_text(), re.M)
    }
    assert shown == {picture.name for picture in folder.glob("*.svg")} and shown


def test_pictures_are_drawn_where_points_are_numbers(tmp_path):
    (tmp_path / "results").mkdir()
    for slug in ("vim", "lasp2"):
        shutil.copy(ROOT / "results" / f"{slug}.json", tmp_path / "results")
    drawn = []
    for _ in range(2):
        _pages.write(tmp_path / "docs", tmp_path / "results")
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / "docs" / "papers").glob("*.svg")})
    assert drawn[0] == drawn[1]
    shown = {picture.name for picture in (ROOT / "docs" / "papers").glob("*.svg")}
    assert set(drawn[0]) == {name for name in shown if name.startswith(("vim-", "lasp2-"))} and drawn[0]
