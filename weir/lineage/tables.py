"""Reads a FROM clause: tables, subqueries, functions, and how they are joined."""

from collections.abc import Sequence
from typing import get_args

from sqlglot import exp

from weir.lineage.expressions import evaluate, names
from weir.lineage.functions import array_join, function, pivoted, unnest, values
from weir.lineage.model import Join, JoinKind
from weir.lineage.relations import OutputColumn, Relation, renamed, unknown
from weir.lineage.scopes import Columns, Role, Scope

_KINDS: tuple[JoinKind, ...] = get_args(JoinKind)
_NAMES = (exp.Identifier, exp.Dot, exp.Var)


class NoQueryError(Exception):
    """A statement has no lineage: it is not understood, or it is a template with placeholders."""


def table_name(table: exp.Expr) -> str:
    """catalog.schema.table, as far as the query has them.

    Raises:
        NoQueryError: the name is a placeholder.
    """
    if not isinstance(table, exp.Table) or not isinstance(table.this, _NAMES) or not table.name:
        raise NoQueryError("not a table name")
    return ".".join(_prefix(part) + part.name for part in table.parts)


def _prefix(part: exp.Expr) -> str:
    """T-SQL's marks of temporary tables, which sqlglot removes."""
    return "##" if part.args.get("global_") else "#" if part.args.get("temporary") else ""


def add_source(node: exp.Expr, scope: Scope) -> Relation | None:
    """Add a relation to a scope, and the relations that are joined to it within parentheses.

    Returns:
        The relation; None for several in parentheses.

    Raises:
        NoQueryError: the relation is a placeholder, or is not understood.
    """
    if isinstance(node, exp.Subquery) and isinstance(node.this, (exp.Table, exp.Subquery)) and not node.alias:
        joined = add_source(node.this, scope)
        return _with_joins(node, joined, scope)
    relation = _relation(node, scope)
    for pivot in node.args.get("pivots") or ():
        relation = pivoted(pivot, relation, _columns(pivot), scope)
    scope.relations.append(relation)
    return _with_joins(node, relation, scope)


def _with_joins(node: exp.Expr, relation: Relation | None, scope: Scope) -> Relation | None:
    more = [*(node.args.get("joins") or ()), *(node.args.get("laterals") or ())]
    for join in more:
        add_join(join, scope)
    return None if more else relation


def _relation(node: exp.Expr, scope: Scope) -> Relation:
    columns = _columns(node)
    if isinstance(node, exp.Final):  # ClickHouse's modifier
        node = node.this
    if isinstance(node, exp.Table) and not isinstance(node.this, exp.Func):
        return _table(node, columns, scope)
    if isinstance(node, exp.Query):
        return Relation(node.alias, renamed(scope.query(node, scope.beside()), columns))
    if isinstance(node, exp.Lateral) and isinstance(node.this, exp.Query):
        return Relation(node.alias, renamed(scope.query(node.this, scope.inside()), columns))
    if isinstance(node, exp.Values):
        return Relation(node.alias, renamed(values(node, scope), columns))
    if isinstance(node, exp.Unnest):
        return unnest(node, columns, scope)
    if isinstance(node, (exp.Table, exp.Lateral, exp.TableFromRows)):
        return function(node, columns, scope)
    raise NoQueryError("not understood in FROM")


def _columns(node: exp.Expr) -> list[str]:
    alias = node.args.get("alias")
    return [column.name for column in alias.args.get("columns") or ()] if isinstance(alias, exp.TableAlias) else []


def _table(node: exp.Table, columns: Sequence[str], scope: Scope) -> Relation:
    full = table_name(node)
    cte = None if node.args.get("db") else scope.ctes.get(node.name.casefold())
    if cte is not None:
        return Relation(node.alias or node.name, renamed(cte, columns))
    scope.reading.tables.setdefault(full, Columns())
    relation = Relation(node.alias or node.name, table=full)
    return Relation(relation.name, renamed(relation.star(), columns)) if columns else relation


def add_join(join: exp.Expr, scope: Scope) -> None:
    """Add a joined relation, and the columns of its condition.

    Raises:
        NoQueryError: as ``add_source``.
    """
    if isinstance(join, exp.Lateral):  # LATERAL VIEW
        add_source(join, scope)
        return
    if join.args.get("kind") == "ARRAY":  # ClickHouse's UNNEST
        for array in [join.this, *join.expressions]:
            scope.relations.append(array_join(array, scope))
        return
    using = [column.name for column in join.args.get("using") or ()]
    left = {name: scope.plain(name) for name in using}
    place = len(scope.relations)
    right = add_source(join.this, scope)
    for name in using:
        _merge(name, left[name], right, scope)
    on = join.args.get("on")
    if on is not None:
        evaluate(on, scope, Role.JOIN)
    kind = _kind(join)
    for relation in scope.relations[place:]:
        relation.hidden = kind in {"semi", "anti"}
    if right is None or not right.function:
        table = None if right is None else right.table
        scope.reading.transformations.append(Join(kind=kind, table=table, columns=tuple(using) or names(on)))


def _merge(name: str, left: OutputColumn, right: Relation | None, scope: Scope) -> None:
    other = unknown(name) if right is None else right.column(name)
    if right is not None:
        right.merged.add(name.casefold())
    inputs = left.inputs | other.inputs
    scope.merged[name.casefold()] = inputs
    scope.reading.note(inputs, Role.JOIN)


def _kind(join: exp.Expr) -> JoinKind:
    conditional = join.args.get("on") or join.args.get("using") or join.args.get("method") == "NATURAL"
    fallback: JoinKind = "inner" if conditional else "cross"
    said = (str(join.args.get(name) or "").casefold() for name in ("method", "kind", "side"))
    return next((kind for word in said for kind in _KINDS if kind == word), fallback)
