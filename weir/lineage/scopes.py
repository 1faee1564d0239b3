"""Finds the column that a name means: the relations that a query sees, and the search through them.

sqlglot's ``qualify`` is not used. It changes names to the dialect's case, writes aliases out again and again, and gives
up on a query where one column may be of several tables, which is the rule without a catalog. Here such a column has no
table, and the others have theirs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from sqlglot import exp

from weir.lineage.limits import Budget
from weir.lineage.model import Transformation
from weir.lineage.relations import Inputs, OutputColumn, Relation, RelationKind, unknown


@dataclass(slots=True)
class Columns:
    """The columns of a table that are read."""

    read: set[str] = field(default_factory=set)
    filtered: set[str] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)


class Role(IntEnum):
    """The purpose for which columns are read."""

    VALUE = 0
    FILTER = 1
    JOIN = 2


class StatementLineage:
    """The lineage of one statement, collected while its tree is walked."""

    def __init__(self, dialect: str, budget: Budget) -> None:
        self.dialect = dialect
        self.budget = budget
        self.tables: dict[str, Columns] = {}
        self.transformations: list[Transformation] = []

    def note(self, inputs: Inputs, role: Role) -> None:
        """Note columns that are read."""
        for table, column in inputs:
            if table is not None:
                columns = self.tables.setdefault(table, Columns())
                columns.read.add(column)
                if role is Role.FILTER:
                    columns.filtered.add(column)
                elif role is Role.JOIN:
                    columns.joined.add(column)


@dataclass(slots=True)
class Scope:
    """The relations that one SELECT sees: its own, then those of the query around it."""

    reading: StatementLineage
    query: Callable[[exp.Expr, "Scope"], Sequence[OutputColumn]]  # evaluates a query that sees this scope
    outer: "Scope | None" = None
    ctes: Mapping[str, Sequence[OutputColumn]] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)
    merged: dict[str, Inputs] = field(default_factory=dict)  # columns merged by USING
    aliases: dict[str, OutputColumn] = field(default_factory=dict)  # aliases of its expressions, where they may be used
    windows: dict[str, exp.Expr] = field(default_factory=dict)  # windows of its WINDOW clause

    def inside(self) -> "Scope":
        """A scope for a query that sees what this one sees: a correlated subquery."""
        return Scope(self.reading, self.query, outer=self, ctes=self.ctes)

    def beside(self) -> "Scope":
        """A scope for a query that sees only what is around this one: a subquery in FROM."""
        return Scope(self.reading, self.query, outer=self.outer, ctes=self.ctes)

    def outward(self) -> Iterator["Scope"]:
        """This scope and those around it, from the inside out."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.outer

    def resolve(self, column: exp.Expr) -> OutputColumn:
        """The output that a column means. A qualifier that is no relation makes it a field of a column."""
        *qualifiers, name = (part.name for part in column.parts) if isinstance(column, exp.Column) else [column.name]
        if not qualifiers:
            return self.plain(name)
        relation = self.relation(qualifiers[-1]) if len(qualifiers) == 1 else self._by_path(qualifiers)
        if relation is not None:
            return relation.column(name)
        relation = self.relation(qualifiers[0])
        if relation is not None:
            return relation.column(qualifiers[1])
        return self.plain(qualifiers[0])

    def star(self) -> list[OutputColumn]:
        """The columns that ``*`` stands for."""
        return [output for relation in self.relations if not relation.hidden for output in relation.star()]

    def relation(self, name: str) -> Relation | None:
        """The nearest relation of that name."""
        wanted = name.casefold()
        for scope in self.outward():
            for relation in scope.relations:
                self.reading.budget.spend()
                if relation.name == wanted:
                    return relation
        return None

    def _by_path(self, qualifiers: list[str]) -> Relation | None:
        path = ".".join(qualifiers).casefold()
        for scope in self.outward():
            for relation in scope.relations:
                self.reading.budget.spend()
                full = (relation.table or "").casefold()
                if relation.name == qualifiers[-1].casefold() and (full == path or full.endswith("." + path)):
                    return relation
        return None

    def plain(self, name: str) -> OutputColumn:
        """The output that a column without a qualifier means."""
        for scope in self.outward():
            self.reading.budget.spend(1 + len(scope.relations))
            found = scope._own(name)  # noqa: SLF001 -- a scope of its own kind
            if found is not None:
                return found
        return unknown(name)

    def alias(self, name: str) -> OutputColumn | None:
        """An expression of this SELECT, if the name means it and no column: in ``upper(n) AS n`` it does not."""
        key = name.casefold()
        found = self.aliases.get(key)
        if found is None or any(ref.column.casefold() == key for ref in found.inputs):
            return None
        self.reading.budget.spend(len(self.relations))
        return None if any(relation.known(name) for relation in self.relations) else found

    def _own(self, name: str) -> OutputColumn | None:
        key = name.casefold()
        if key in self.merged:
            return OutputColumn(name, self.merged[key], RelationKind.DIRECT)
        alias = self.alias(name)
        if alias is not None:
            return alias
        seen = [relation for relation in self.relations if not relation.hidden]
        found = [r for r in seen if r.known(name)] or [r for r in seen if r.open]
        if not found:
            return None
        return found[0].column(name) if len(found) == 1 else unknown(name)
