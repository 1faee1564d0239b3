"""Relations of a FROM clause, and their columns. Names are compared without regard to case and quotes."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple


class RelationKind(IntEnum):
    """How a value is made; of several steps the greatest counts."""

    LITERAL = 0
    DIRECT = 1
    STAR = 2
    EXPRESSION = 3
    AGGREGATION = 4
    WINDOW = 5


class Ref(NamedTuple):
    """A column of a table; the table is unknown if the query does not show it."""

    table: str | None
    column: str


Inputs = frozenset[Ref]
NOTHING: Inputs = frozenset()


class OutputColumn(NamedTuple):
    """A column of a query's result. A star is named ``*``."""

    name: str | None
    inputs: Inputs
    kind: RelationKind


class Relation:
    """A table, a CTE, a subquery or a function of a FROM clause."""

    def __init__(
        self,
        name: str,
        outputs: Sequence[OutputColumn] = (),
        *,
        table: str | None = None,
        anything: Inputs | None = None,
    ) -> None:
        self.name = name.casefold()
        self.table = table  # any column that is not in `outputs` belongs to it
        self.outputs = outputs
        self.anything = anything  # the inputs of any other column: of a function
        self.function = False  # whether it is a function of the FROM clause
        self.hidden = False  # the right side of a semi or anti join: not in a star
        self.merged: set[str] = set()  # columns that USING has merged with those of the left side
        self._named: dict[str, OutputColumn] = {}
        for output in outputs:
            if output.name is not None and output.kind is not RelationKind.STAR:
                self._named.setdefault(output.name.casefold(), output)
        self._stars = [output for output in outputs if output.kind is RelationKind.STAR]

    @property
    def open(self) -> bool:
        """Whether the relation may have columns that the query does not show."""
        return self.table is not None or bool(self._stars) or self.anything is not None

    def known(self, name: str) -> OutputColumn | None:
        """A column that the relation is known to have."""
        return self._named.get(name.casefold())

    def column(self, name: str) -> OutputColumn:
        """A column by its name; a column that no relation or several relations may have has no table."""
        known = self.known(name)
        if known is not None:
            return known
        if self.table is not None:
            return OutputColumn(name, frozenset({Ref(self.table, name)}), RelationKind.DIRECT)
        if self._stars:
            behind = [ref.table for star in self._stars for ref in star.inputs]
            return OutputColumn(
                name, frozenset({Ref(behind[0] if len(behind) == 1 else None, name)}), RelationKind.DIRECT
            )
        if self.anything is not None:
            return OutputColumn(name, self.anything, RelationKind.EXPRESSION if self.anything else RelationKind.LITERAL)
        return unknown(name)

    def star(self) -> list[OutputColumn]:
        """The columns that ``*`` stands for."""
        own = [] if self.table is None else [OutputColumn("*", frozenset({Ref(self.table, "*")}), RelationKind.STAR)]
        if self.anything is not None:
            own = [OutputColumn("*", self.anything, RelationKind.STAR)]
        return own + [o for o in self.outputs if o.name is None or o.name.casefold() not in self.merged]


def unknown(name: str) -> OutputColumn:
    """A column whose table is unknown."""
    return OutputColumn(name, frozenset({Ref(None, name)}), RelationKind.DIRECT)


def renamed(outputs: Sequence[OutputColumn], names: Sequence[str]) -> list[OutputColumn]:
    """Outputs under other names, by their place. A name after a star may stand for any of its columns."""
    first_star = next((place for place, output in enumerate(outputs) if output.kind is RelationKind.STAR), None)
    if first_star is None or first_star >= len(names):
        found = [output._replace(name=name) for output, name in zip(outputs, names, strict=False)]
        return [*found, *outputs[len(names) :], *(unknown(name) for name in names[len(outputs) :])]
    star = NOTHING.union(*(output.inputs for output in outputs[first_star:]))
    kind = RelationKind.DIRECT if star else RelationKind.LITERAL
    found = [output._replace(name=name) for output, name in zip(outputs[:first_star], names, strict=False)]
    return [*found, *(OutputColumn(name, star, kind) for name in names[first_star:])]
