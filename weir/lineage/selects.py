"""Finds the result columns of a query: a SELECT or a set operation, with CTEs and subqueries.

Each query is walked through once, from the inside out: when the outer query asks for the inputs of a column, they are
known in terms of tables.
"""

from collections.abc import Sequence

from sqlglot import exp

from weir.lineage.dialects import LATERAL_ALIASES, RECURSIVE_BY_NATURE
from weir.lineage.expressions import bare, evaluate, output_name, starred
from weir.lineage.functions import values
from weir.lineage.relations import OutputColumn, renamed
from weir.lineage.scopes import Role, Scope
from weir.lineage.set_operations import branches, by_names, operators, together
from weir.lineage.shape import note_shape
from weir.lineage.tables import NoQueryError, add_join, add_source

_FILTERS = ("where", "prewhere", "having", "qualify", "connect")
_BEFORE_ALIASES = frozenset({"where", "prewhere", "connect"})
_OTHERS = ("group", "order", "sort", "cluster", "distribute", "distinct")


def query_outputs(query: exp.Expr, scope: Scope) -> list[OutputColumn]:
    """The columns of a query's result; ``scope`` is new, and holds what the query sees of the outside.

    Raises:
        NoQueryError: a part of the query is not understood.
        TooComplexError: the steps or the columns are used up.
    """
    add_ctes(query, scope)
    if isinstance(query, exp.Subquery):
        return query_outputs(query.this, scope)
    if isinstance(query, exp.SetOperation):
        return _set_operation(query, scope)
    if isinstance(query, exp.Select):
        return _select(query, scope)
    if isinstance(query, exp.Values):
        return values(query, scope)
    raise NoQueryError("not a query")


def add_ctes(query: exp.Expr, scope: Scope) -> None:
    """Read a WITH clause into a scope."""
    clause = query.args.get("with_")
    if clause is None:
        return
    ctes = dict(scope.ctes)
    scope.ctes = ctes
    recursive = clause.args.get("recursive") or scope.reading.dialect in RECURSIVE_BY_NATURE
    for cte in clause.expressions:
        name, columns = cte.alias.casefold(), [column.name for column in cte.args["alias"].args.get("columns") or ()]
        inner = scope.beside()
        body = cte.this
        if recursive and isinstance(body, exp.SetOperation):
            outputs: Sequence[OutputColumn] = _recursive(body, name, columns, inner)
        else:
            outputs = scope.query(body, inner)
        ctes[name] = renamed(outputs, columns)


def _recursive(body: exp.SetOperation, name: str, columns: Sequence[str], scope: Scope) -> list[OutputColumn]:
    """The result of a recursive CTE: its other branches see the first one under the name of the CTE."""
    add_ctes(body, scope)
    first, *others = branches(body)
    outputs = query_outputs(first, scope.beside())
    scope.ctes = {**scope.ctes, name: renamed(outputs, columns)}
    for branch in others:
        outputs = together(outputs, query_outputs(branch, scope.beside()))
    scope.reading.transformations += operators(body)
    return outputs


def _set_operation(query: exp.SetOperation, scope: Scope) -> list[OutputColumn]:
    first, *others = branches(query)
    outputs = query_outputs(first, scope.beside())
    for branch in others:
        more = query_outputs(branch, scope.beside())
        outputs = by_names([*outputs, *more]) if query.args.get("by_name") else together(outputs, more)
    scope.reading.transformations += operators(query)
    return outputs


def _select(select: exp.Select, scope: Scope) -> list[OutputColumn]:
    if select.args.get("match"):
        raise NoQueryError("MATCH_RECOGNIZE makes columns that are not followed")
    source = select.args.get("from_")
    if source is not None:
        add_source(source.this, scope)
    for join in [*(select.args.get("joins") or ()), *(select.args.get("laterals") or ())]:
        add_join(join, scope)
    scope.windows = {window.name.casefold(): window for window in select.args.get("windows") or ()}
    outputs = projections(select.expressions, scope)
    early = scope.reading.dialect in LATERAL_ALIASES
    aliases, scope.aliases = scope.aliases, scope.aliases if early else {}
    for clause in _FILTERS:
        if clause not in _BEFORE_ALIASES:
            scope.aliases = aliases
        if select.args.get(clause):
            evaluate(select.args[clause], scope, Role.FILTER)
    for clause in _OTHERS:
        if select.args.get(clause):
            evaluate(select.args[clause], scope)
    note_shape(select, scope)
    return outputs


def projections(expressions: Sequence[exp.Expr], scope: Scope) -> list[OutputColumn]:
    """The columns of the expressions of a SELECT or a RETURNING; their aliases are visible in the scope afterwards."""
    early = scope.reading.dialect in LATERAL_ALIASES
    outputs: list[OutputColumn] = []
    aliases: dict[str, OutputColumn] = {}
    for projection in expressions:
        given = _projection(projection, scope)
        outputs += given
        scope.reading.budget.spend(len(given))
        if isinstance(projection, exp.Alias) and given:
            aliases.setdefault(projection.alias.casefold(), given[0])
        if early:
            scope.aliases = aliases
    scope.aliases = aliases
    return outputs


def _projection(projection: exp.Expr, scope: Scope) -> list[OutputColumn]:
    inner = bare(projection)
    if isinstance(inner, exp.Star):
        return _star(inner, scope.star(), scope)
    if isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star):
        return _star(inner.this, starred(inner, scope), scope)
    value = evaluate(projection, scope)
    if isinstance(projection, exp.Aliases):
        return [OutputColumn(alias.name, *value) for alias in projection.expressions]
    return [OutputColumn(output_name(projection), *value)]


def _star(star: exp.Expr, outputs: list[OutputColumn], scope: Scope) -> list[OutputColumn]:
    """The columns of ``*`` with its EXCEPT, REPLACE and RENAME, as far as they are known."""
    for output in outputs:
        scope.reading.note(output.inputs, Role.VALUE)
    gone = {column.name.casefold() for column in star.args.get("except_") or ()}
    replaced = {part.alias.casefold(): part for part in star.args.get("replace") or ()}
    new_names = {part.this.name.casefold(): part.alias for part in star.args.get("rename") or ()}
    found: list[OutputColumn] = []
    for output in outputs:
        key = (output.name or "").casefold()
        if key in replaced:
            found.append(OutputColumn(output.name, *evaluate(replaced.pop(key), scope)))
        elif key not in gone:
            found.append(output._replace(name=new_names.get(key, output.name)))
    return found + [OutputColumn(part.alias, *evaluate(part, scope)) for part in replaced.values()]
