"""Relations that are made from values: UNNEST, table functions, PIVOT."""

from collections.abc import Sequence

from sqlglot import exp

from weir.lineage.expressions import Value, aggregates, evaluate, function_name, names, output_name
from weir.lineage.model import Aggregation, Unnest
from weir.lineage.relations import NOTHING, Inputs, OutputColumn, Relation, RelationKind, renamed
from weir.lineage.scopes import Scope


def evaluate_all(expressions: Sequence[exp.Expr], scope: Scope) -> Value:
    """Evaluate several expressions that make one value."""
    found = [evaluate(expression, scope) for expression in expressions]
    inputs = NOTHING.union(*(value.inputs for value in found))
    return Value(inputs, max((value.kind for value in found), default=RelationKind.LITERAL))


def unnest(node: exp.Unnest, columns: Sequence[str], scope: Scope) -> Relation:
    """UNNEST: one column per array; if the numbers differ, each column is made from all arrays."""
    arrays = [evaluate(expression, scope) for expression in node.expressions]
    together = NOTHING.union(*(array.inputs for array in arrays))
    one_each = len(arrays) == len(columns)
    outputs = [_made(name, arrays[i].inputs if one_each else together) for i, name in enumerate(columns)]
    offset = node.args.get("offset")
    if isinstance(offset, exp.Identifier):
        outputs.append(OutputColumn(offset.name, NOTHING, RelationKind.LITERAL))
    _note_unnest(node, scope)
    return _relation(node, outputs, together)


def values(node: exp.Values, scope: Scope) -> list[OutputColumn]:
    """VALUES: as many columns as its first row has."""
    value = evaluate_all(node.expressions, scope)
    width = len(node.expressions[0].expressions) or 1
    return [OutputColumn(f"column{place}", *value) for place in range(1, width + 1)]


def array_join(array: exp.Expr, scope: Scope) -> Relation:
    """ARRAY JOIN: the elements have the array's name, or another one."""
    value = evaluate(array, scope)
    _note_unnest(array, scope)
    return Relation("", [_made(output_name(array) or "", value.inputs)])


def function(node: exp.Expr, columns: Sequence[str], scope: Scope) -> Relation:
    """A table function: its columns are made from its arguments."""
    value = evaluate(node.this, scope)
    _note_unnest(node.this, scope)
    return _relation(node, [_made(name, value.inputs) for name in columns], value.inputs)


def _relation(node: exp.Expr, outputs: list[OutputColumn], inputs: Inputs) -> Relation:
    own = [_made(node.alias, inputs)] if node.alias else []  # `generate_series(1, 3) AS n` is a column n, too
    relation = Relation(node.alias, outputs or own, anything=None if outputs else inputs)
    relation.function = True
    return relation


def _made(name: str, inputs: Inputs) -> OutputColumn:
    return OutputColumn(name, inputs, RelationKind.EXPRESSION if inputs else RelationKind.LITERAL)


def _note_unnest(node: exp.Expr, scope: Scope) -> None:
    columns = names(node)
    if columns:
        scope.reading.transformations.append(Unnest(columns=columns))


def pivoted(pivot: exp.Expr, relation: Relation, columns: Sequence[str], scope: Scope) -> Relation:
    """PIVOT: a column per value, made by aggregations; UNPIVOT: two columns made from others. Other columns stay."""
    before = scope.inside()
    before.relations.append(relation)
    fields = pivot.args.get("fields") or ()
    if pivot.args.get("unpivot"):
        inputs = NOTHING.union(*(evaluate_all(field.expressions, before).inputs for field in fields))
        columns_made = [part for column in pivot.expressions for part in (column.expressions or [column])]
        made = [_made(column.name, inputs) for column in columns_made]
        made += [OutputColumn(field.this.name, NOTHING, RelationKind.LITERAL) for field in fields]
    else:
        evaluate_all(fields, before)
        inputs = evaluate_all(pivot.expressions, before).inputs
        made = [
            OutputColumn(column.name, inputs, RelationKind.AGGREGATION) for column in pivot.args.get("columns") or ()
        ]
        scope.reading.transformations += [_aggregation(call) for call in pivot.find_all(exp.Func) if aggregates(call)]
    gone = {name.casefold() for name in names(pivot)}
    kept = [output for output in relation.outputs if (output.name or "").casefold() not in gone]
    name = pivot.alias or relation.name
    result = Relation(name, [*kept, *made], table=relation.table)
    return Relation(name, renamed(result.star(), columns)) if columns else result


def _aggregation(call: exp.Expr) -> Aggregation:
    columns = names(call)
    one = columns[0] if len(columns) == 1 else None
    return Aggregation(
        function=function_name(call), distinct=False, input_column=one, input_columns=columns, output_alias=None
    )
