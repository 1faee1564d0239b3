"""The shapes in which the lineage of a query is published, with their JSON Schema. All are frozen.

Names of tables and columns are as written in the query, without quotes. ``*`` stands for all columns of a table.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


Names = tuple[str, ...]

LineageKind = Literal["literal", "direct", "star", "expression", "aggregation", "window"]
"""From the weakest to the strongest: the strongest step on a column's way is reported."""

StatementKind = Literal["select", "insert", "create_table", "create_view", "update", "delete", "merge"]

JoinKind = Literal["inner", "left", "right", "full", "cross", "semi", "anti", "asof"]


class QueryText(_Shape):
    """The SQL of one statement."""

    sql: str = Field(description="The statement as written, without its semicolon; cut where it is long.")
    dialect: str = Field(description="The dialect it was read in, by sqlglot's name.")
    truncated: bool = Field(description="Whether `sql` was cut. The rest of the event is about the whole statement.")


class SourceTable(_Shape):
    """A table that is read. Names of CTEs and subqueries are not tables."""

    table: str = Field(description="catalog.schema.table, as far as it was written.")
    columns_read: Names = Field(description="Every column that is used anywhere, sorted; `*` for all columns.")
    filter_columns: Names = Field(
        description="Columns that decide which rows count: in WHERE, HAVING, QUALIFY or FILTER, sorted."
    )
    join_columns: Names = Field(description="Columns in a join's ON or USING, or a MERGE's ON, sorted.")


class Aggregation(_Shape):
    """An aggregate function."""

    type: Literal["aggregation"] = "aggregation"
    function: str = Field(description="The function's name in upper case, by the name that it has in most dialects.")
    distinct: bool = Field(description="Whether equal values count once.")
    input_column: str | None = Field(description="The only input column; `*` for rows; null for none or several.")
    input_columns: Names = Field(description="All input columns, in the order of the text.")
    output_alias: str | None = Field(description="Name of the output column that it is part of; null if it has none.")


class GroupBy(_Shape):
    """A GROUP BY clause."""

    type: Literal["group_by"] = "group_by"
    columns: Names = Field(description="The columns in it; ordinals and aliases stand for the columns behind them.")


class Window(_Shape):
    """A function with an OVER clause."""

    type: Literal["window"] = "window"
    function: str = Field(description="The function's name in upper case, by the name that it has in most dialects.")
    input_columns: Names = Field(description="The columns in its arguments.")
    partition_by: Names = Field(description="The columns in PARTITION BY.")
    order_by: Names = Field(description="The columns in ORDER BY.")
    output_alias: str | None = Field(description="Name of the output column that it is part of; null if it has none.")


class Join(_Shape):
    """A join, by JOIN or by a comma."""

    type: Literal["join"] = "join"
    kind: JoinKind = Field(description="`cross` is one without a condition.")
    table: str | None = Field(description="The table on the right; null for a CTE, a subquery, or several tables.")
    columns: Names = Field(description="The columns in ON or USING, in the order of the text.")


class Unnest(_Shape):
    """Rows made from the elements of a value: UNNEST, FLATTEN, EXPLODE and table functions of columns."""

    type: Literal["unnest"] = "unnest"
    columns: Names = Field(description="The columns whose values are taken apart.")


class Distinct(_Shape):
    """A SELECT DISTINCT."""

    type: Literal["distinct"] = "distinct"
    columns: Names = Field(description="The columns of DISTINCT ON; empty if whole rows are compared.")


class SetOperation(_Shape):
    """A UNION, INTERSECT or EXCEPT of two queries."""

    type: Literal["set_operation"] = "set_operation"
    operator: Literal["union", "intersect", "except"] = Field(description="The operator.")
    distinct: bool = Field(description="False with ALL.")


Transformation = Annotated[
    Aggregation | GroupBy | Window | Join | Unnest | Distinct | SetOperation, Field(discriminator="type")
]


class InputColumn(_Shape):
    """A column of a table."""

    table: str | None = Field(
        description="The table; null where the query alone does not say which of several tables has the column."
    )
    column: str = Field(description="Its name; `*` for all columns.")


class ColumnLineage(_Shape):
    """Where an output column comes from."""

    output: str | None = Field(
        description="Its name; for INSERT, UPDATE and MERGE the target's column; `*` for all columns of the inputs; "
        "null for an expression without a name."
    )
    inputs: tuple[InputColumn, ...] = Field(description="The columns from whose values it is made, sorted.")
    kind: LineageKind = Field(
        description="`literal` uses no column, `direct` is a copy or a rename. Of several steps it is the "
        "strongest: window, aggregation, expression."
    )


class Query(_Shape):
    """One statement."""

    query: QueryText = Field(description="The statement.")
    statement: StatementKind = Field(description="The kind of statement.")
    target: str | None = Field(description="The table that it writes; null for a SELECT.")
    sources: tuple[SourceTable, ...] = Field(description="The tables that it reads, sorted.")
    transformations: tuple[Transformation, ...] = Field(
        description="Operations on rows, inner queries first; within one: joins, aggregations, grouping, windows."
    )
    column_lineage: tuple[ColumnLineage, ...] = Field(description="One entry per output column, in their order.")


class Skipped(_Shape):
    """How many statements, or texts that may hold some, were left out because they exceed a limit."""

    too_large: int = Field(default=0, description="Longer than a query may be, or beyond what is read of one answer.")
    too_many: int = Field(default=0, description="Texts after as many queries as are read of one answer.")
    too_complex: int = Field(default=0, description="Nested too deep, or too costly to read, or with too many columns.")


class Lineage(_Shape):
    """The queries found in one answer."""

    queries: tuple[Query, ...] = Field(description="In the order of the text, then of the tool calls; each once.")
    skipped: Skipped = Field(description="Counts of statements that were left out.")
