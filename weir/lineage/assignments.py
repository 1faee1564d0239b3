"""Finds the columns that get values: SET in an UPDATE, and the branches of a MERGE."""

from collections.abc import Sequence

from sqlglot import exp

from weir.lineage import selects
from weir.lineage.expressions import evaluate
from weir.lineage.relations import OutputColumn, Relation, renamed
from weir.lineage.scopes import Role, Scope


def assignments(expressions: Sequence[exp.Expr], scope: Scope) -> list[OutputColumn]:
    """``SET a = …, (b, c) = (…)``."""
    made: list[OutputColumn] = []
    for assignment in expressions:
        if isinstance(assignment, exp.Star):  # UPDATE SET *
            made += scope.relations[-1].star()
        elif isinstance(assignment, exp.EQ):
            made += _assigned(assignment.this, assignment.expression, scope)
    return made


def _assigned(left: exp.Expr, right: exp.Expr, scope: Scope) -> list[OutputColumn]:
    columns = [column.name for column in left.expressions] if isinstance(left, exp.Tuple) else [left.name]
    if isinstance(left, exp.Tuple) and isinstance(right, exp.Query):
        given = selects.query_outputs(right, scope.inside())
        for output in given:
            scope.reading.note(output.inputs, Role.VALUE)
        return renamed(given, columns)[: len(columns)]
    values = right.expressions if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple) else [right]
    return [OutputColumn(name, *evaluate(value, scope)) for name, value in zip(columns, values, strict=False)]


def when_branch(then: exp.Expr | None, source: Relation, scope: Scope) -> list[OutputColumn]:
    """The columns that one WHEN of a MERGE writes: an UPDATE, an INSERT, or none."""
    if isinstance(then, exp.Update):
        evaluate_where(then, scope)
        given = then.args.get("expressions")
        return assignments([given] if isinstance(given, exp.Star) else then.expressions, scope)
    if not isinstance(then, exp.Insert):
        return []
    values = then.args.get("expression")
    if isinstance(then.this, exp.Star) or not isinstance(values, exp.Expr):  # INSERT *, INSERT ROW
        for output in source.star():
            scope.reading.note(output.inputs, Role.VALUE)
        return source.star()
    if not isinstance(then.this, exp.Tuple):
        evaluate(values, scope)
        return []
    pairs = zip(then.this.expressions, values.expressions, strict=False)
    return [OutputColumn(column.name, *evaluate(value, scope)) for column, value in pairs]


def evaluate_where(tree: exp.Expr, scope: Scope) -> None:
    """Read the WHERE of a statement, if it has one."""
    if tree.args.get("where"):
        evaluate(tree.args["where"], scope, Role.FILTER)
