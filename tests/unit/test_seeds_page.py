"""docs/seeds.md names the test that proves each line of what Weir replaces: they must exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "seeds.md").read_text()
    named = NAMED.findall(page)
    assert len(named) > 40
    missing = [f"{path}::{name}" for path, name in named if not _exists(ROOT / path, name)]
    assert not missing


def _exists(path: Path, name: str) -> bool:
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return not name or name in functions


def test_every_line_of_a_table_names_one() -> None:
    page = (ROOT / "docs" / "seeds.md").read_text()
    lines = [
        line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| what", "| the worker"))
    ]
    assert len(lines) > 30
    assert [line for line in lines if not NAMED.search(line)] == []
