"""Finds the row operations of a SELECT: its aggregations, grouping, windows and duplicates."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from sqlglot import exp

from weir.lineage.expressions import aggregates, function_name, names, output_name
from weir.lineage.model import Aggregation, Distinct, GroupBy, Window
from weir.lineage.scopes import Scope

_AROUND = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls, exp.RespectNulls)
"""Syntax nodes that may stand between a function and its OVER."""


class _Call(NamedTuple):
    """A function of several rows, and the output column that it is part of."""

    node: exp.Expr
    alias: str | None


def note_shape(select: exp.Select, scope: Scope) -> None:
    """Add the row operations of a SELECT to the transformations; joins are noted where they are read."""
    noted = scope.reading.transformations
    calls = list(_calls(select, scope))
    aggregations = [_aggregation(call) for call in calls if not isinstance(call.node, exp.Window)]
    outputs = {_what(found) for found in aggregations if found.output_alias is not None}
    noted += [found for found in aggregations if found.output_alias is not None or _what(found) not in outputs]
    group = select.args.get("group")
    if group is not None:
        noted.append(GroupBy(columns=_grouped(group, select, scope)))
    noted += [_window(call, scope) for call in calls if isinstance(call.node, exp.Window)]
    distinct = select.args.get("distinct")
    if distinct is not None:
        noted.append(Distinct(columns=names(distinct.args.get("on"))))


def _what(found: Aggregation) -> tuple[str, bool, tuple[str, ...]]:
    return found.function, found.distinct, found.input_columns


def _calls(select: exp.Select, scope: Scope) -> Iterator[_Call]:
    clauses = [(projection, output_name(projection)) for projection in select.expressions]
    clauses += [(select.args[name], None) for name in ("having", "qualify", "order") if select.args.get(name)]
    for clause, alias in clauses:
        stack = [clause]
        while stack:
            part = stack.pop()
            scope.reading.budget.spend()
            if isinstance(part, exp.Query):
                continue
            children = list(part.iter_expressions())
            if isinstance(part, exp.Window):
                yield _Call(part, alias)
                children = [*_function(part).iter_expressions(), *(c for c in children if c is not part.this)]
            elif aggregates(part):
                yield _Call(part, alias)
            stack += reversed(children)


def _function(window: exp.Expr) -> exp.Expr:
    function: exp.Expr = window.this
    while isinstance(function, _AROUND):
        function = function.this
    return function


def _aggregation(call: _Call) -> Aggregation:
    node = call.node
    whole = node.parent if isinstance(node.parent, exp.WithinGroup) else node
    columns = names(whole)
    rows = isinstance(node, exp.Count) and isinstance(node.this, exp.Star)
    return Aggregation(
        function=function_name(node),
        distinct=isinstance(node.this, exp.Distinct),
        input_column="*" if rows else columns[0] if len(columns) == 1 else None,
        input_columns=columns,
        output_alias=call.alias,
    )


def _window(call: _Call, scope: Scope) -> Window:
    node, function = call.node, _function(call.node)
    spec = scope.windows.get(node.alias.casefold(), node) if node.alias else node
    return Window(
        function=function_name(function),
        input_columns=names(function),
        partition_by=_all_names(spec.args.get("partition_by") or node.args.get("partition_by") or ()),
        order_by=names(node.args.get("order") or spec.args.get("order")),
        output_alias=call.alias,
    )


def _all_names(expressions: Sequence[exp.Expr]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for expression in expressions for name in names(expression)))


def _grouped(group: exp.Expr, select: exp.Select, scope: Scope) -> tuple[str, ...]:
    """The columns of a GROUP BY: ordinals and aliases are followed; ALL is every expression without an aggregation."""
    outputs = select.expressions
    if group.args.get("all"):
        return _all_names(
            [output for output in outputs if not any(aggregates(p) or isinstance(p, exp.Window) for p in output.walk())]
        )
    aliased = {output.alias.casefold(): output for output in reversed(outputs) if output.alias}
    placed = list(takewhile(lambda output: not output.is_star, outputs))
    found: dict[int, exp.Expr] = {}  # each once: an ordinal is cheap to write, but its expression costs a walk
    for part in group.iter_expressions():
        scope.reading.budget.spend()
        behind = part
        if isinstance(part, exp.Literal) and part.is_int and 0 < int(part.name) <= len(placed):
            behind = placed[int(part.name) - 1]
        elif isinstance(part, exp.Column) and not part.table and scope.alias(part.name):
            behind = aliased.get(part.name.casefold(), part)
        found[id(behind)] = behind
    return _all_names(list(found.values()))
