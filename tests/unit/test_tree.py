"""The tree is what it says it is: no circle of imports, and what docs and comments name in backticks is there."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
INSTALLED = ("agents", "app", "tables", "web", "weir")
FOLDERS = (*INSTALLED, "bench", "demo", "docs", "scripts", "tests")
TEXTS = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *(each for folder in FOLDERS for each in (ROOT / folder).rglob("*")))
    if path.suffix in {".py", ".md"}
)
DOTTED = re.compile(rf"`((?:{'|'.join(FOLDERS)})(?:\.\w+)+)(?:\(\))?`")
FILE = re.compile(r"`((?:[\w-]+/)*\w+\.py)`")
ELSEWHERE = {"weir.attempt.mark", "weir.db"}  # an attribute of a span, and a file of data: no modules
FAUST = "faust/"  # its files, which the repairs name


def circles(*packages: str) -> list[str]:
    """A circle of files that import each other, also for types alone; empty if there is none."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circles(*INSTALLED) == []


@cache
def defined(path: Path) -> frozenset[str]:
    """The names that a file defines, members of its classes included, and those that a package hands on."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(node.name)
            case ast.alias() if path.name == "__init__.py":
                names.add(node.asname or node.name)
            case ast.Name(ctx=ast.Store()):
                names.add(node.id)
            case ast.Attribute(ctx=ast.Store()):
                names.add(node.attr)
    return frozenset(names)


def exists(dotted: str) -> bool:
    """Whether a module is there, and behind its name nothing but names in it."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        at = ROOT.joinpath(*parts[:end])
        if at.with_suffix(".py").is_file():
            return defined(at.with_suffix(".py")).issuperset(parts[end:])
        if at.is_dir():
            module = at / "__init__.py"
            return end == len(parts) or (module.is_file() and defined(module).issuperset(parts[end:]))
    return False


def missing(text: Path) -> Iterator[str]:
    """The modules, names and files that a text names in backticks, and that are not there."""
    said = (ROOT / text).read_text()
    yield from (name for name in DOTTED.findall(said) if name not in ELSEWHERE and not exists(name))
    for name in FILE.findall(said):
        if not name.startswith(FAUST) and not any(f"/{each}".endswith(f"/{name}") for each in TEXTS):
            yield name


def test_every_module_name_and_file_in_backticks_is_there() -> None:
    assert {(str(text), name) for text in TEXTS for name in missing(text)} == set()


@pytest.mark.parametrize(
    "name", ["weir.worker", "weir.log", "weir.worker.Worker.own_partitions", "weir.settings.Settings"]
)
def test_a_name_that_is_there_is_found(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize("name", ["weir.labour", "weir.worker.Labourer", "weir.worker.Worker.rest", "weir.log.Worker"])
def test_a_name_that_is_not_there_is_not_found(name: str) -> None:
    assert not exists(name)
