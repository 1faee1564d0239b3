"""Finds what a statement writes: INSERT, UPDATE, DELETE, MERGE, and CREATE … AS."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from weir.lineage import selects
from weir.lineage.assignments import assignments, evaluate_where, when_branch
from weir.lineage.expressions import evaluate
from weir.lineage.model import StatementKind
from weir.lineage.relations import OutputColumn, Relation, renamed
from weir.lineage.scopes import Role, Scope
from weir.lineage.set_operations import by_names
from weir.lineage.tables import NoQueryError, add_join, add_source, table_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The kind of a statement, and the table and columns that it writes."""

    kind: StatementKind
    target: str | None
    outputs: Sequence[OutputColumn]
    returned: Sequence[OutputColumn] = ()  # of RETURNING, for the query around the statement


def outputs(tree: exp.Expr, scope: Scope) -> Sequence[OutputColumn]:
    """The columns of a query's result, or of a statement's RETURNING; see ``change``."""
    return change(tree, scope).returned if isinstance(tree, exp.DML) else selects.query_outputs(tree, scope)


def change(tree: exp.Expr, scope: Scope) -> Change:
    """The change that a statement makes; for a query: its result columns, and the table of a SELECT … INTO.

    Raises:
        NoQueryError: the text is no statement about data, or a part of it is not understood.
        TooComplexError: the steps are used up.
    """
    if isinstance(tree, exp.Query):
        made = selects.query_outputs(tree, scope)
        into = _into(tree)
        kind: StatementKind = "select" if into is None else "create_table"
        return Change(kind=kind, target=into, outputs=made)
    if isinstance(tree, exp.Create):
        return _create(tree, scope)
    selects.add_ctes(tree, scope)
    if isinstance(tree, exp.Insert):
        return _insert(tree, scope)
    if isinstance(tree, exp.Update):
        return _update(tree, scope)
    if isinstance(tree, exp.Delete):
        return _delete(tree, scope)
    if isinstance(tree, exp.Merge):
        return _merge(tree, scope)
    raise NoQueryError("nothing is read or written")


def _into(query: exp.Expr) -> str | None:
    while isinstance(query, (exp.SetOperation, exp.Subquery)):
        query = query.this
    into = query.args.get("into")
    return table_name(into.this) if into is not None and isinstance(into.this, exp.Table) else None


def _written(node: exp.Expr) -> tuple[str, list[str]]:
    """A table and the columns that are listed with it."""
    if isinstance(node, exp.Schema):
        return table_name(node.this), [column.name for column in node.expressions]
    return table_name(node), []


def _create(tree: exp.Create, scope: Scope) -> Change:
    query = tree.args.get("expression")
    kinds: dict[str, StatementKind] = {"TABLE": "create_table", "VIEW": "create_view"}
    kind = kinds.get(str(tree.args.get("kind") or "").upper())
    if kind is None or not isinstance(query, exp.Query):
        raise NoQueryError("nothing is read")
    selects.add_ctes(tree, scope)
    target, columns = _written(tree.this)
    return Change(kind=kind, target=target, outputs=renamed(selects.query_outputs(query, scope.beside()), columns))


def _insert(tree: exp.Insert, scope: Scope) -> Change:
    target, columns = _written(tree.this)
    query = tree.args.get("expression")
    if not isinstance(query, (exp.Query, exp.Values)):
        raise NoQueryError("nothing is inserted that is understood")
    made = renamed(selects.query_outputs(query, scope.beside()), columns)
    written = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    scope.relations.append(Relation(written.alias or written.name, table=target))
    conflict = tree.args.get("conflict")
    if conflict is not None:
        scope.relations.append(Relation("excluded", made))
        made = by_names([*made, *assignments(conflict.expressions, scope)])
        evaluate_where(conflict, scope)
    return Change(kind="insert", target=target, outputs=made, returned=_returned(tree, scope))


def _update(tree: exp.Update, scope: Scope) -> Change:
    source = tree.args.get("from_")
    if source is not None:
        add_source(source.this, scope)
    target = _target(tree.this, scope)
    made = assignments(tree.expressions, scope)
    if not made:
        raise NoQueryError("nothing is set")
    evaluate_where(tree, scope)
    return Change(kind="update", target=target, outputs=made, returned=_returned(tree, scope))


def _delete(tree: exp.Delete, scope: Scope) -> Change:
    for node in tree.args.get("using") or ():
        add_source(node, scope)
    named = tree.args.get("tables") or ()
    target = _target(tree.this, scope)
    if named:  # DELETE a FROM t AS a JOIN …
        target = _target(named[0], scope)
    evaluate_where(tree, scope)
    return Change(kind="delete", target=target, outputs=(), returned=_returned(tree, scope))


def _target(node: exp.Expr, scope: Scope) -> str | None:
    """The table that is written; a FROM clause may have named it already. It is read only if a column of it is."""
    name = table_name(node)
    if name.casefold() in scope.ctes:  # T-SQL writes through CTEs
        add_source(node, scope)
        return None
    known = next((r for r in scope.relations if r.name == name.casefold() and r.table), None)
    if known is not None and known.table is not None:
        return known.table
    scope.relations.insert(0, Relation(node.alias or node.name, table=name))
    for join in node.args.get("joins") or ():
        add_join(join, scope)
    return name


def _returned(tree: exp.Expr, scope: Scope) -> list[OutputColumn]:
    returning = tree.args.get("returning")
    return [] if returning is None else selects.projections(returning.expressions, scope)


def _merge(tree: exp.Merge, scope: Scope) -> Change:
    target = _target(tree.this, scope)
    add_source(tree.args["using"], scope)
    source = scope.relations[-1]
    if not isinstance(tree.args.get("on"), exp.Expr):
        raise NoQueryError("no condition")
    evaluate(tree.args["on"], scope, Role.JOIN)
    made: list[OutputColumn] = []
    for when in tree.args["whens"].expressions:
        if when.args.get("condition"):
            evaluate(when.args["condition"], scope, Role.FILTER)
        made += when_branch(when.args.get("then"), source, scope)
    return Change(kind="merge", target=target, outputs=by_names(made), returned=_returned(tree, scope))
