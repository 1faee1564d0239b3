"""docs/glossary.md explains words that are in use: each stands in the code or on another page, and in order."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
CODE = ("app", "agents", "tables", "web", "weir")
ROWS = [line.split(" | ") for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")][1:]
WORDS = [row[0].removeprefix("| ") for row in ROWS]


@pytest.fixture(scope="module")
def text() -> str:
    """All code, and all pages but the glossary."""
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page != GLOSSARY]
    modules = [module for folder in CODE for module in (ROOT / folder).rglob("*.py")]
    return "\n".join(path.read_text() for path in [ROOT / "README.md", *pages, *modules])


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_is_explained_is_used(word: str, text: str) -> None:
    assert re.search(rf"\b{word}(s|e?d)?\b", text, re.IGNORECASE)


def test_words_stand_in_order_and_once() -> None:
    assert len(WORDS) > 40
    assert sorted(set(WORDS)) == WORDS


def test_each_line_has_a_meaning_and_the_nearest_term() -> None:
    assert [row for row in ROWS if len(row) != 3 or not all(cell.strip(" |") for cell in row)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_glossary_is_linked(page: str) -> None:
    assert "glossary.md" in (ROOT / page).read_text()
