"""The names of dialects in Markdown, and the differences between dialects."""

from sqlglot.dialects.dialect import Dialects

KNOWN = frozenset(dialect.value for dialect in Dialects) - {"", "dax", "prql", "solr", "tableau"}
"""sqlglot's names of dialects, without languages that are not SQL."""

DEFAULT = frozenset({"", "sql"})
"""Languages of a fence that do not name a dialect."""

_ALIASES = {
    "googlesql": "bigquery",
    "hiveql": "hive",
    "hql": "hive",
    "mariadb": "mysql",
    "mssql": "tsql",
    "pgsql": "postgres",
    "plpgsql": "postgres",
    "plsql": "oracle",
    "postgresql": "postgres",
    "prestodb": "presto",
    "prestosql": "trino",
    "psql": "postgres",
    "spark-sql": "spark",
    "sparksql": "spark",
    "sqlite3": "sqlite",
    "sqlserver": "tsql",
    "standardsql": "bigquery",
    "t-sql": "tsql",
    "transact-sql": "tsql",
    "trinosql": "trino",
}

FROM_FIRST = frozenset({"duckdb"})
"""Dialects in which a query may begin with FROM."""

LATERAL_ALIASES = frozenset(
    {"clickhouse", "databricks", "duckdb", "hive", "redshift", "snowflake", "spark", "teradata"}
)
"""Dialects in which a SELECT may use the aliases that it defines, in later expressions and in WHERE."""

RECURSIVE_BY_NATURE = frozenset({"fabric", "oracle", "snowflake", "teradata", "tsql"})
"""Dialects in which a CTE may be recursive without the word RECURSIVE."""


AGGREGATES = frozenset(
    {
        *("APPROX_MOST_FREQUENT", "APPROX_SET", "BOOL_XOR", "CHECKSUM", "COUNT_MIN_SKETCH", "ENTROPY", "EVERY", "FAVG"),
        *("FSUM", "GEOMETRIC_MEAN", "HISTOGRAM", "JSON_ARRAYAGG", "JSONB_AGG", "MAD", "MAP_AGG", "MAP_UNION", "MERGE"),
        *("MULTIMAP_AGG", "NUMERIC_HISTOGRAM", "PRODUCT", "QDIGEST_AGG", "RANGE_AGG", "REDUCE_AGG", "ST_UNION_AGG"),
        *("TDIGEST_AGG", "TRY_AVG", "TRY_SUM", "XMLAGG"),
    }
)
"""Aggregate functions that sqlglot does not know as such."""


def dialect_of(language: str) -> str | None:
    """The dialect that a fence's language names; None if it names none."""
    name = language.casefold()
    name = _ALIASES.get(name, name)
    return name if name in KNOWN else None
