"""UNION, INTERSECT and EXCEPT: matches the columns of their branches."""

from collections.abc import Sequence
from typing import Literal

from sqlglot import exp

from weir.lineage.model import SetOperation
from weir.lineage.relations import NOTHING, OutputColumn, RelationKind

Operator = Literal["union", "intersect", "except"]


def branches(query: exp.SetOperation) -> list[exp.Expr]:
    """The queries of a chain of operators, from left to right."""
    chain = _chain(query)
    return [chain[-1].this, *(node.expression for node in reversed(chain))]


def operators(query: exp.SetOperation) -> list[SetOperation]:
    """The operators of a chain, from left to right."""
    found: list[SetOperation] = []
    for node in reversed(_chain(query)):
        name: Operator = "except" if isinstance(node, exp.Except) else "intersect"
        operator: Operator = "union" if isinstance(node, exp.Union) else name
        found.append(SetOperation(operator=operator, distinct=bool(node.args.get("distinct"))))
    return found


def _chain(query: exp.SetOperation) -> list[exp.SetOperation]:
    """The operators from right to left, as the tree leans: it is as deep as the chain is long, so no recursion."""
    found = [query]
    while isinstance(found[-1].this, exp.SetOperation) and not found[-1].this.args.get("with_"):
        found.append(found[-1].this)
    return found


def together(left: Sequence[OutputColumn], right: Sequence[OutputColumn]) -> list[OutputColumn]:
    """Columns of both sides, matched by their place. Where a star hides the places: one side after the other."""
    stars = [[output.kind is RelationKind.STAR for output in side] for side in (left, right)]
    if stars[0] != stars[1]:
        return [*left, *right]
    return [OutputColumn(a.name, a.inputs | b.inputs, max(a.kind, b.kind)) for a, b in zip(left, right, strict=True)]


def by_names(outputs: Sequence[OutputColumn]) -> list[OutputColumn]:
    """Columns of both sides, matched by their name."""
    found: dict[str, list[OutputColumn]] = {}
    for output in outputs:
        found.setdefault((output.name or "").casefold(), []).append(output)
    return [
        OutputColumn(
            same[0].name, NOTHING.union(*(output.inputs for output in same)), max(output.kind for output in same)
        )
        for same in found.values()
    ]
