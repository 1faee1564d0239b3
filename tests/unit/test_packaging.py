"""The installed packages, and the docs about installing: Weir is an application, and `weir` on the index is another."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROSE = ("*.md", "*.py", "*.toml", "*.yml", "*.html", "*.js")
# Each names the index's package, or an installation past `make install`.
WRONG = re.compile(r"pip install[^`\n]*(\bweir\b|\.\[|-e \.|--editable)|\bweir\[[a-z]", re.IGNORECASE)


def packages() -> set[str]:
    """The top-level packages that are installed."""
    patterns = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    return {name for name in folders if any(fnmatch(name, pattern) for pattern in patterns)}


def test_only_the_application_is_installed() -> None:
    assert packages() == {"agents", "app", "tables", "web", "weir"}


def test_it_cannot_be_uploaded_to_the_package_index() -> None:
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]


def test_nothing_says_to_install_weir_from_the_package_index() -> None:
    folders = (*sorted(packages()), "bench", "demo", "docs", "scripts")
    files = [path for folder in folders for pattern in PROSE for path in (ROOT / folder).rglob(pattern)]
    files += ROOT.glob("*.md")
    assert ROOT / "README.md" in files
    said = {
        f"{path.relative_to(ROOT)}: {found.group()}" for path in files for found in WRONG.finditer(path.read_text())
    }
    assert said == set()
