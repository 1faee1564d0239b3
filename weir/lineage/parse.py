"""Reads the lineage of one statement."""

from sqlglot import Token, exp

from weir.lineage import changes, statements
from weir.lineage.changes import Change
from weir.lineage.find import SqlCandidate
from weir.lineage.limits import Budget, ParseLimits, TooComplexError
from weir.lineage.model import ColumnLineage, InputColumn, LineageKind, Query, QueryText, SourceTable, Transformation
from weir.lineage.relations import OutputColumn, RelationKind
from weir.lineage.scopes import Scope, StatementLineage
from weir.lineage.tables import NoQueryError

_STEPS_PER_TOKEN = 10  # one walk through a tree, several times over
_STEPS_MORE = 100_000  # and columns that are passed on from query to query

_KINDS: dict[RelationKind, LineageKind] = {
    RelationKind.LITERAL: "literal",
    RelationKind.DIRECT: "direct",
    RelationKind.STAR: "star",
    RelationKind.EXPRESSION: "expression",
    RelationKind.AGGREGATION: "aggregation",
    RelationKind.WINDOW: "window",
}


def read(candidate: SqlCandidate, tokens: list[Token], limits: ParseLimits, budget: Budget) -> Query | None:
    """The lineage of a statement, given by its tokens; None if it is not one that reads or writes tables.

    Raises:
        TooComplexError: the statement exceeds a limit.
    """
    try:
        tree = statements.parse(tokens, candidate.sql, candidate.dialect, depth=limits.depth, budget=budget)
        if tree is None or not (candidate.labelled or _surely_sql(tree)):
            return None
        budget.refill(_STEPS_PER_TOKEN * len(tokens) + _STEPS_MORE)
        reading = StatementLineage(candidate.dialect, budget)
        done = changes.change(tree, Scope(reading, changes.outputs))
    except NoQueryError:
        return None
    except RecursionError:
        raise TooComplexError("nested too deep for Python") from None
    sql = candidate.sql[tokens[0].start : tokens[-1].end + 1]
    return _published(
        done,
        reading,
        QueryText(sql=sql[: limits.sql_chars], dialect=candidate.dialect, truncated=len(sql) > limits.sql_chars),
        limits,
    )


def _surely_sql(tree: exp.Expr) -> bool:
    """Whether a text that the answer does not call SQL is SQL: it changes data, or reads from a table."""
    return not isinstance(tree, exp.Query) or tree.find(exp.From) is not None


def _published(done: Change, reading: StatementLineage, query: QueryText, limits: ParseLimits) -> Query:
    entries = sum(1 + len(output.inputs) for output in done.outputs)
    entries += sum(len(columns.read) for columns in reading.tables.values())
    entries += sum(1 + _names_in(transformation) for transformation in reading.transformations)
    if entries > limits.columns:
        raise TooComplexError("too many columns")
    return Query(
        query=query,
        statement=done.kind,
        target=done.target,
        sources=tuple(
            SourceTable(
                table=table,
                columns_read=tuple(sorted(columns.read)),
                filter_columns=tuple(sorted(columns.filtered)),
                join_columns=tuple(sorted(columns.joined)),
            )
            for table, columns in sorted(reading.tables.items())
        ),
        transformations=tuple(reading.transformations),
        column_lineage=tuple(_column(output) for output in done.outputs),
    )


def _names_in(transformation: Transformation) -> int:
    return sum(len(value) for _, value in transformation if isinstance(value, tuple))


def _column(output: OutputColumn) -> ColumnLineage:
    inputs = sorted(output.inputs, key=lambda ref: (ref.table or "", ref.column))
    return ColumnLineage(
        output=output.name,
        inputs=tuple(InputColumn(table=ref.table, column=ref.column) for ref in inputs),
        kind=_KINDS[output.kind],
    )
