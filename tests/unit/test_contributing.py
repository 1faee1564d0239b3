"""CONTRIBUTING.md and SECURITY.md are true of the tree that is there: its files, its targets, its first change."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = {name: (ROOT / name).read_text() for name in ("CONTRIBUTING.md", "SECURITY.md")}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_its_files_folders_and_links_exist(page: str) -> None:
    text = PAGES[page]
    named = set(re.findall(r"`((?:weir|web|agents|app|tables|tests|docs|scripts|\.ci)/[\w./-]*)`", text))
    named |= set(re.findall(r"\b(tests/[\w/]+(?:\.py)?)\b", text))
    linked = {link for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text) if "://" not in link}
    assert linked
    assert {path for path in named | linked if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", PAGES)
def test_links_into_a_page_lead_to_one_of_its_headings(page: str) -> None:
    for path, anchor in re.findall(r"\]\(([\w./-]+\.md)#([\w-]+)\)", PAGES[page]):
        headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_its_targets_of_make_exist() -> None:
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", GUIDE, re.MULTILINE))
    assert {"run", "test", "lint", "docs", "system"} <= targets
    assert targets <= TARGETS


def test_its_first_change_can_be_made_to_this_tree() -> None:
    changes = re.findall(r"^```diff\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert len(changes) == 2
    for change in changes:
        subprocess.run(["git", "apply", "--check", "-"], input=change.encode(), cwd=ROOT, check=True)
