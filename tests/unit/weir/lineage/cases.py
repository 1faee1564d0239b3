"""The notation of the expected results.

A column of a table is ``table.column``, or ``?.column`` where its table is not known. An output is
``name = kind(column, …)``, without a name ``_ = …``. In sources and transformations names are separated by spaces, and
a ``~`` is a space in a name.
"""

from dataclasses import dataclass, field
from typing import Any

from weir.lineage.model import (
    Aggregation,
    Distinct,
    GroupBy,
    InputColumn,
    Join,
    JoinKind,
    Query,
    SetOperation,
    SourceTable,
    StatementKind,
    Transformation,
    Unnest,
    Window,
)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    sql: str
    sources: list[SourceTable]
    does: list[Transformation] = field(default_factory=list)
    gives: list[str] = field(default_factory=list)
    dialect: str = "trino"
    statement: StatementKind = "select"
    target: str | None = None

    def expected(self) -> dict[str, Any]:
        return {
            "statement": self.statement,
            "target": self.target,
            "sources": [one.model_dump() for one in self.sources],
            "transformations": [one.model_dump() for one in self.does],
            "column_lineage": self.gives,
        }


def found(query: Query) -> dict[str, Any]:
    """Return the parser's result in the same notation."""
    return {
        **query.model_dump(include={"statement", "target"}),
        "sources": [one.model_dump() for one in query.sources],
        "transformations": [one.model_dump() for one in query.transformations],
        "column_lineage": [
            f"{one.output or '_'} = {one.kind}({', '.join(_column(column) for column in one.inputs)})"
            for one in query.column_lineage
        ],
    }


def _column(column: InputColumn) -> str:
    return f"{column.table or '?'}.{column.column}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.replace("~", " ") for name in text.split())


def table(name: str, read: str = "", *, where: str = "", on: str = "") -> SourceTable:
    return SourceTable(
        table=name,
        columns_read=_names(read),
        filter_columns=_names(where),
        join_columns=_names(on),
    )


def agg(function: str, columns: str = "", output: str | None = None, *, distinct: bool = False) -> Aggregation:
    names = () if columns == "*" else _names(columns)
    one = columns if columns == "*" else names[0] if len(names) == 1 else None
    return Aggregation(function=function, distinct=distinct, input_column=one, input_columns=names, output_alias=output)


def group(columns: str) -> GroupBy:
    return GroupBy(columns=_names(columns))


def window(function: str, columns: str = "", output: str | None = None, *, by: str = "", order: str = "") -> Window:
    return Window(
        function=function,
        input_columns=_names(columns),
        partition_by=_names(by),
        order_by=_names(order),
        output_alias=output,
    )


def join(kind: JoinKind, right: str | None, columns: str = "") -> Join:
    return Join(kind=kind, table=right, columns=_names(columns))


def unnest(columns: str) -> Unnest:
    return Unnest(columns=_names(columns))


def distinct(on: str = "") -> Distinct:
    return Distinct(columns=_names(on))


UNION = SetOperation(operator="union", distinct=True)
UNION_ALL = SetOperation(operator="union", distinct=False)
INTERSECT = SetOperation(operator="intersect", distinct=True)
EXCEPT = SetOperation(operator="except", distinct=True)
