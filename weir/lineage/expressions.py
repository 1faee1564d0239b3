"""Finds the columns from which the value of an expression is made."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlglot import exp

from weir.lineage.dialects import AGGREGATES
from weir.lineage.relations import NOTHING, Inputs, OutputColumn, RelationKind
from weir.lineage.scopes import Role, Scope


class Value(NamedTuple):
    """The columns in a value, and how they are combined."""

    inputs: Inputs
    kind: RelationKind


def evaluate(expression: exp.Expr, scope: Scope, role: Role = Role.VALUE) -> Value:
    """Evaluate an expression; its columns are noted for ``role``. Call it once per expression: it may contain queries.

    Raises:
        TooComplexError: the steps are used up.
    """
    inner = bare(expression)
    inputs: set[Inputs] = set()
    kind = RelationKind.LITERAL
    stack = [(inner, role)]
    while stack:
        part, why = stack.pop()
        scope.reading.budget.spend()
        if isinstance(part, (exp.Column, exp.Query, exp.Star)):
            for found in _leaf(part, scope):
                scope.reading.budget.spend(1 + len(found.inputs))
                scope.reading.note(found.inputs, why)
                inputs.add(found.inputs)
                kind = max(kind, found.kind)
            continue
        kind = max(kind, _kind(part))
        why = Role.FILTER if isinstance(part, exp.Where) else why
        stack += [(child, why) for child in part.iter_expressions()]
        if isinstance(part, exp.Window) and part.alias.casefold() in scope.windows:
            stack.append((scope.windows[part.alias.casefold()], why))
    if kind is RelationKind.STAR and not isinstance(inner, (exp.Column, exp.Query, exp.Star)):
        kind = RelationKind.EXPRESSION
    together = NOTHING.union(*inputs)
    return Value(together, RelationKind.LITERAL if kind is RelationKind.EXPRESSION and not together else kind)


def bare(expression: exp.Expr) -> exp.Expr:
    """An expression without its alias and parentheses."""
    while isinstance(expression, (exp.Alias, exp.Paren, exp.Aliases)):
        expression = expression.this
    return expression


def output_name(expression: exp.Expr) -> str | None:
    """The name that an expression gives its column, as far as all dialects agree on one."""
    if isinstance(expression, exp.Alias):
        return expression.alias
    inner = bare(expression)
    if isinstance(inner, exp.Dot):
        inner = inner.expression
    return inner.name if isinstance(inner, (exp.Column, exp.Identifier)) else None


def _leaf(part: exp.Expr, scope: Scope) -> Sequence[OutputColumn]:
    if isinstance(part, exp.Query):
        return scope.query(part, scope.inside())
    if isinstance(part, exp.Star):
        if isinstance(part.parent, exp.Count):
            return []  # it counts rows and reads no column
        return scope.star()
    return starred(part, scope) if isinstance(part.this, exp.Star) else [scope.resolve(part)]


def starred(column: exp.Expr, scope: Scope) -> list[OutputColumn]:
    """``t.*``: the columns of a relation, or the fields of a column."""
    qualifiers = [part.name for part in column.parts[:-1]] if isinstance(column, exp.Column) else []
    relation = scope.relation(qualifiers[-1]) if qualifiers else None
    if relation is not None:
        return relation.star()
    return [scope.plain(qualifiers[0])._replace(name="*", kind=RelationKind.STAR)] if qualifiers else []


def _kind(part: exp.Expr) -> RelationKind:
    if isinstance(part, exp.Window):
        return RelationKind.WINDOW
    return RelationKind.AGGREGATION if aggregates(part) else RelationKind.EXPRESSION


def aggregates(part: exp.Expr) -> bool:
    """Whether an expression is an aggregate function."""
    if isinstance(part, exp.Anonymous):
        return part.name.upper() in AGGREGATES
    return isinstance(part, exp.AggFunc) and not isinstance(part, (exp.Grouping, exp.GroupingId))


def function_name(function: exp.Expr) -> str:
    """The function's name in upper case: sqlglot's, which most dialects share, or the written one if it knows none."""
    if isinstance(function, (exp.Anonymous, exp.AnonymousAggFunc)):
        return function.name.upper()
    return function.sql_name() if isinstance(function, exp.Func) else type(function).__name__.upper()


def names(expression: exp.Expr | None) -> tuple[str, ...]:
    """The columns that an expression names, in the order of the text, each once; without those of its subqueries."""
    found: dict[str, None] = {}
    stack = [expression] if expression is not None else []
    while stack:
        part = stack.pop()
        if isinstance(part, exp.Column):
            found[part.name] = None
        elif not isinstance(part, exp.Query):
            stack += reversed(list(part.iter_expressions()))
    return tuple(found)
