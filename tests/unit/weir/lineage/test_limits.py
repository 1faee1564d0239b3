"""SQL beyond the limits is left out and counted, before it costs time."""

import time

import pytest

from weir.lineage import ParseLimits, queries
from weir.lineage.model import Lineage

MANY = " + ".join(f"a{i}" for i in range(4_000))


def fenced(*statements: str) -> str:
    return "\n".join(f"```sql\n{one}\n```" for one in statements)


def skipped(result: Lineage) -> tuple[int, int, int]:
    return result.skipped.too_large, result.skipped.too_many, result.skipped.too_complex


def test_a_long_query_is_cut_where_it_is_shown_but_read_as_a_whole() -> None:
    (query,) = queries(fenced("SELECT a, b, c FROM t"), limits=ParseLimits(sql_chars=10)).queries
    assert query.query.model_dump() == {"sql": "SELECT a, ", "dialect": "trino", "truncated": True}
    assert query.sources[0].columns_read == ("a", "b", "c")


def test_a_query_of_exactly_the_length_is_whole() -> None:
    (query,) = queries(fenced("SELECT a"), limits=ParseLimits(sql_chars=8)).queries
    assert not query.query.truncated


def test_a_text_beyond_the_limit_is_not_read() -> None:
    result = queries(fenced("SELECT a FROM t", "SELECT b FROM u WHERE c = 12345"), limits=ParseLimits(query_chars=20))
    assert [query.query.sql for query in result.queries] == ["SELECT a FROM t"]
    assert skipped(result) == (1, 0, 0)


def test_of_one_answer_only_so_much_is_read() -> None:
    result = queries(
        fenced("SELECT a FROM t", "SELECT b FROM t", "SELECT c FROM t"), limits=ParseLimits(answer_chars=31)
    )
    assert len(result.queries) == 2
    assert skipped(result) == (1, 0, 0)


def test_of_one_answer_only_so_many_queries_are_told() -> None:
    text = fenced("SELECT 1; SELECT 2; SELECT 3; SELECT 4", "SELECT 5")
    result = queries(text, ['{"sql": "SELECT 6"}'], limits=ParseLimits(queries=3))
    assert [query.query.sql for query in result.queries] == ["SELECT 1", "SELECT 2", "SELECT 3"]
    assert skipped(result) == (0, 3, 0)


def test_a_lineage_with_too_many_columns_is_not_told() -> None:
    result = queries(fenced("SELECT a, b, c FROM t", "SELECT d FROM t"), limits=ParseLimits(columns=5))
    assert [query.query.sql for query in result.queries] == ["SELECT d FROM t"]
    assert skipped(result) == (0, 0, 1)


def test_brackets_within_the_limit_are_read_and_beyond_it_are_not() -> None:
    inside, beyond = (f"SELECT {'(' * depth}a{')' * depth} FROM t" for depth in (24, 25))
    result = queries(fenced(inside, beyond, "SELECT b FROM t"))
    assert [query.query.sql for query in result.queries] == [inside, "SELECT b FROM t"]
    assert skipped(result) == (0, 0, 1)


def test_subqueries_as_deep_as_the_limit_are_read() -> None:
    (query,) = queries(fenced("SELECT a FROM " + "(SELECT a FROM " * 24 + "t" + ") x" * 24)).queries
    assert query.column_lineage[0].inputs[0].model_dump() == {"table": "t", "column": "a"}


def test_what_is_nested_without_brackets_is_stopped_by_the_stack() -> None:
    assert skipped(queries(fenced("SELECT " + "NOT " * 3_000 + "a FROM t"))) == (0, 0, 1)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "STRUCT(" * 23 + "1" + ")" * 23,
        "SELECT " + "ARRAY[" * 23 + "1" + "]" * 23,
        "SELECT * FROM t " + "JOIN u " * 64,
    ],
)
@pytest.mark.parametrize("dialect", ["trino", "postgres", "bigquery", "snowflake", "mysql"])
def test_what_makes_a_parser_try_again_and_again_is_given_up(sql: str, dialect: str) -> None:
    """Each of these takes sqlglot from minutes to years."""
    started = time.thread_time()
    assert queries(fenced(sql), dialect=dialect).queries == ()
    assert time.thread_time() - started < 2


@pytest.mark.parametrize(
    ("sql", "dialect"),
    [
        ("SELECT a" + "[1]" * 20_000 + " FROM t", "trino"),
        ("SELECT * FROM t" + ".t" * 20_000, "bigquery"),
        ("SELECT * FROM " + "(SELECT *, * FROM " * 24 + "t" + ") x" * 24, "trino"),
        (
            f"WITH c AS (SELECT {MANY} AS x FROM t) SELECT x{', x' * 8_000} FROM c",
            "trino",
        ),
        (f"SELECT {MANY} AS x FROM t GROUP BY 1{', 1' * 8_000}", "trino"),
        (f"SELECT SUM(a) OVER w{', SUM(a) OVER w' * 2_000} FROM t WINDOW w AS (ORDER BY a{', a' * 5_000})", "postgres"),
    ],
)
def test_what_grows_faster_than_its_text_is_given_up(sql: str, dialect: str) -> None:
    started = time.thread_time()
    assert skipped(queries(fenced(sql), dialect=dialect)) in {(0, 0, 1), (0, 0, 0)}
    assert time.thread_time() - started < 4


def test_nested_array_literals_of_a_usual_depth_are_read() -> None:
    assert (
        len(queries(fenced("SELECT ARRAY[ARRAY[ARRAY[1, a], ARRAY[2, b]], ARRAY[ARRAY[3, c]]] AS x FROM t")).queries)
        == 1
    )


def test_the_processor_time_of_an_answer_is_bounded() -> None:
    result = queries(fenced("SELECT " + "a, " * 500 + "a FROM t"), limits=ParseLimits(cpu_s=0.0))
    assert skipped(result) == (0, 0, 1)
