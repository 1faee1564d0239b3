"""README and the docs name what exists: the links between pages, and the files of this project."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:agents|app|bench|demo|docs|scripts|tables|tests|web|weir)/[\w./-]+\.(?:py|md|toml|sh|svg))")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if "://" in link or link.startswith("mailto:"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    assert list(broken_links(ROOT / page)) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_file_that_is_named_exists(page: Path) -> None:
    named = set(FILE.findall((ROOT / page).read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


def test_there_are_pages_with_links_and_files() -> None:
    text = "\n".join((ROOT / page).read_text() for page in PAGES)
    assert len(PAGES) > 40
    assert len(LINK.findall(text)) > 100
    assert len(FILE.findall(text)) > 100
