"""A table of cases: inputs with the right values beside them, for tests and for docs/compatibility.md."""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest

import tests.compatibility


@dataclass(frozen=True, kw_only=True)
class Case:
    """One peculiarity of a peer. A module adds its own fields: the input, and the right result."""

    id: str  # unique over all sheets; lower case, words joined by hyphens
    peer: str  # the server, client or broker, by its name: "vLLM, SGLang"
    does: str  # the peculiarity, as one line for a person: "sends each tool call whole, without an index"
    gets: str  # the result, as one line for a person: "two calls, in order"


C = TypeVar("C", bound=Case)


@dataclass(frozen=True, kw_only=True)
class Sheet(Generic[C]):
    """The cases of one kind."""

    title: str
    about: str  # one or two sentences: the rule that all its cases follow, and the paths on which they are tested
    cases: tuple[C, ...]

    def parametrize(self) -> pytest.MarkDecorator:
        """Run a test once for each case; its argument is named ``case``."""
        return pytest.mark.parametrize("case", self.cases, ids=[case.id for case in self.cases])


def all_sheets() -> dict[str, Sheet[Any]]:
    """Every sheet by the name of its module, in alphabetical order."""
    names = sorted(module.name for module in pkgutil.iter_modules(tests.compatibility.__path__))
    modules = {name: importlib.import_module(f"tests.compatibility.{name}") for name in names if "test_" not in name}
    return {name: module.SHEET for name, module in modules.items() if hasattr(module, "SHEET")}
