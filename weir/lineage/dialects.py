"""How dialects are called in Markdown, and what they do differently from each other."""

from sqlglot.dialects.dialect import Dialects

KNOWN = frozenset(dialect.value for dialect in Dialects) - {"", "dax", "prql", "solr", "tableau"}
"""sqlglot's names, without languages that are not SQL."""

DEFAULT = frozenset({"", "sql"})
"""Languages of a fence that leave the dialect open."""

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
"""Where a query may begin with FROM."""

LATERAL_ALIASES = frozenset(
    {"clickhouse", "databricks", "duckdb", "hive", "redshift", "snowflake", "spark", "teradata"}
)
"""Where a SELECT may use the aliases that it defines, in later expressions and in WHERE."""

RECURSIVE_BY_NATURE = frozenset({"fabric", "oracle", "snowflake", "teradata", "tsql"})
"""Where a CTE may be recursive without being called so."""


AGGREGATES = frozenset(
    {
        *("APPROX_MOST_FREQUENT", "APPROX_SET", "BOOL_XOR", "CHECKSUM", "COUNT_MIN_SKETCH", "ENTROPY", "EVERY", "FAVG"),
        *("FSUM", "GEOMETRIC_MEAN", "HISTOGRAM", "JSON_ARRAYAGG", "JSONB_AGG", "MAD", "MAP_AGG", "MAP_UNION", "MERGE"),
        *("MULTIMAP_AGG", "NUMERIC_HISTOGRAM", "PRODUCT", "QDIGEST_AGG", "RANGE_AGG", "REDUCE_AGG", "ST_UNION_AGG"),
        *("TDIGEST_AGG", "TRY_AVG", "TRY_SUM", "XMLAGG"),
    }
)
"""Aggregate functions that sqlglot takes for any function."""


def dialect_of(language: str) -> str | None:
    """The dialect that a language's name stands for; None if it is none."""
    name = language.casefold()
    name = _ALIASES.get(name, name)
    return name if name in KNOWN else None
