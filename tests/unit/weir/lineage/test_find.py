"""Places of SQL in an answer, places without SQL, and texts that are taken for SQL."""

import json
import logging

import pytest

from weir.lineage import queries

SQL = "SELECT a FROM t"


def found(text: str = "", *arguments: object, dialect: str = "trino") -> list[tuple[str, str]]:
    calls = [one if isinstance(one, str) else json.dumps(one) for one in arguments]
    return [(one.query.sql, one.query.dialect) for one in queries(text, calls, dialect=dialect).queries]


@pytest.mark.parametrize(
    ("language", "dialect"),
    [
        ("sql", "trino"),
        ("SQL", "trino"),
        ("", "trino"),
        ("trino", "trino"),
        ("postgres", "postgres"),
        ("postgresql", "postgres"),
        ("PostgreSQL", "postgres"),
        ("pgsql", "postgres"),
        ("bigquery", "bigquery"),
        ("snowflake", "snowflake"),
        ("mysql", "mysql"),
        ("mariadb", "mysql"),
        ("duckdb", "duckdb"),
        ("sqlite3", "sqlite"),
        ("tsql", "tsql"),
        ("mssql", "tsql"),
        ("plsql", "oracle"),
        ("spark-sql", "spark"),
        ("clickhouse", "clickhouse"),
        ('sql title="totals.sql"', "trino"),
        ("{.sql .numberLines}", "trino"),
    ],
)
def test_the_language_of_a_fence_is_its_dialect(language: str, dialect: str) -> None:
    assert found(f"Here:\n\n```{language}\n{SQL}\n```\nDone.") == [(SQL, dialect)]


@pytest.mark.parametrize(
    "text",
    [
        f"~~~sql\n{SQL}\n~~~",
        f"~~~~~sql\n{SQL}\n~~~~~",
        f"````sql\n{SQL}\n````",
        f"   ```sql\n   {SQL}\n   ```",
        f"1. First:\n\n      ```sql\n      {SQL}\n      ```\n",
        f"- ```sql\n  {SQL}\n  ```",
        f"> ```sql\n> {SQL}\n> ```",
        f"> > ```sql\n> > {SQL}\n> > ```",
        f"```sql\r\n{SQL}\r\n```\r\n",
        f"```sql\n{SQL}\n``````",
        f"```sql\n{SQL}\n```   \nmore",
        f"``` sql\n{SQL}\n```",
        f"```sql\n{SQL};\n```",
        f"```sql\n-- all of them\n{SQL} ;\n\n```",
        f"```sql\n/* all; of them */ {SQL}\n```",
        f"```\n-- all of them\n{SQL}\n```",
        f"```sql\n{SQL}",
        f"```sql\n{SQL}\n``",
        f"~~~sql\n{SQL}\n```",
        f"```python\nprint(1)\n```\n```sql\n{SQL}\n```",
        f"```text\n~~~sql\nSELECT b FROM u\n~~~\n```\n```sql\n{SQL}\n```",
    ],
)
def test_fences_of_all_forms(text: str) -> None:
    if "~~~sql" in text and text.endswith("```") and text.startswith("~~~"):
        assert found(text) == []  # never closed, and the other kind of fence is no SQL
    else:
        assert found(text) == [(SQL, "trino")]


def test_several_statements_in_several_fences_are_told_in_their_order() -> None:
    text = "```sql\nSELECT 1 AS a; SELECT b\nFROM u;\n```\nand\n```mysql\nSELECT `c` FROM v\n```"
    assert found(text) == [("SELECT 1 AS a", "trino"), ("SELECT b\nFROM u", "trino"), ("SELECT `c` FROM v", "mysql")]


def test_a_broken_statement_does_not_take_the_others_along() -> None:
    assert found(f"```sql\nSELECT a FROM WHERE b;\n{SQL};\nSELECT (b FROM u\n```") == [(SQL, "trino")]


def test_statements_without_lineage_are_skipped() -> None:
    text = f"```sql\nUSE db; SET x = 1; DROP TABLE t; BEGIN; {SQL}; COMMIT; GRANT SELECT ON t TO u; EXPLAIN {SQL}\n```"
    assert found(text) == [(SQL, "trino")]


def test_a_cut_answer_gives_what_can_be_read() -> None:
    assert found("```sql\nSELECT a FROM t;\nSELECT b, SUM(c) FROM u GROUP B") == [(SQL, "trino")]


def test_a_semicolon_or_a_fence_within_a_string_is_none() -> None:
    sql = "SELECT ';' AS a, '```' AS b FROM t"
    assert found(f"```sql\n{sql}\n```") == [(sql, "trino")]


def test_letters_beyond_ascii_are_cut_where_they_should_be() -> None:
    assert found("```sql\nSELECT 'größe 📏' AS ü; SELECT 'é' AS é FROM täble\n```") == [
        ("SELECT 'größe 📏' AS ü", "trino"),
        ("SELECT 'é' AS é FROM täble", "trino"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"sql": SQL},
        {"query": SQL},
        {"statement": SQL},
        {"anything": SQL},
        {"request": {"steps": [{"name": "run", "sql": SQL + ";"}]}},
        {"sql": SQL, "limit": 10, "dry_run": False, "comment": None},
        [SQL],
        SQL.join('""'),
        {"sql": [SQL, SQL]},
    ],
)
def test_arguments_of_tool_calls(arguments: object) -> None:
    assert found("", arguments) == [(SQL, "trino")]


def test_arguments_can_say_their_dialect() -> None:
    assert found("", {"sql": "SELECT `a` FROM t", "dialect": "MySQL"}) == [("SELECT `a` FROM t", "mysql")]
    assert found("", {"sql": SQL, "dialect": "klingon"}) == [(SQL, "trino")]


def test_an_argument_called_sql_needs_no_from() -> None:
    assert found("", {"sql": "SELECT 1", "query": "SELECT 2"}) == [("SELECT 1", "trino")]


def test_what_a_tool_was_called_with_and_the_answer_shows_is_one_query() -> None:
    text = f"```sql\nSELECT  a\n  FROM t;\n```\nI ran it:\n```sql\n{SQL}\n```\n```mysql\n{SQL}\n```"
    assert found(text, {"sql": SQL}) == [("SELECT  a\n  FROM t", "trino"), (SQL, "mysql")]


NOT_SQL = [
    "",
    "Select the best of them from the list, please.",
    "SELECT a FROM t",  # not in a fence
    "`SELECT a FROM t`",
    "``` `SELECT a FROM t` ```",
    "```python\nSELECT = 'SELECT a FROM t'\n```",
    "```python\ndb.execute('''\nSELECT a FROM t\n''')\n```",
    '```json\n{"sql": "SELECT a FROM t"}\n```',
    "```bash\npsql -c 'SELECT a FROM t'\n```",
    "```sh\nselect x in a b; do echo $x; done\n```",
    "```text\nSELECT a FROM t\n```",
    "```jinja\nSELECT a FROM t\n```",
    "```prql\nfrom t\n```",
    "```sql+jinja\nSELECT a FROM t\n```",
    "```\n```",
    "```sql\n```",
    "```sql\n\n-- nothing to see\n\n```",
    "```sql\n;;;\n```",
    "```",
    "```sql",
    "```\nSELECT 1\n```",  # it may be anything
    "```\nwith great power comes great responsibility\n```",
    "```\nselect one of the following items from the menu\n```",
    "```\nUpdate the table to include the new column.\n```",
    "```\nDelete the file, then create a new one.\n```",
    "```\nfrom os import path\nimport sys\n```",
    "```\nid | name\n---+-----\n 1 | a\n```",
    "```\ncreate table\n```",
    "```sql\nHere is the query you asked for:\n```",
    "```sql\nSELECT FROM WHERE\n```",
    "```sql\nSELECT a FROM t WHERE\n```",
    "```sql\nSELECT a FROM t WHERE (a = 1\n```",
    "```sql\nSELECT 'a FROM t\n```",
    "```sql\nSELECT a, FROM, t\n```",
    "```sql\nSELECT a FRM t WHERE x = 1\n```",
    "```sql\nSELECT a FROM {{ ref('orders') }}\n```",
    "```sql\nSELECT a FROM t {% if x %} WHERE b {% endif %}\n```",
    "```sql\nSELECT a FROM ${table}\n```",
    "```sql\nSELECT a FROM <your_table>\n```",
    "```sql\nSELECT a FROM :table\n```",
    "```sql\nSELECT a FROM %s\n```",
    "```sql\nSELECT a FROM ...\n```",
    "```sql\nSELECT ... FROM t\n```",
    "```sql\nCREATE TABLE t (a INTEGER, b VARCHAR)\n```",
    "```sql\nDROP TABLE t\n```",
    "```sql\nALTER TABLE t ADD COLUMN a INTEGER\n```",
    "```sql\nEXPLAIN SELECT a FROM t\n```",
    "```sql\nSHOW TABLES\n```",
    "```sql\nGRANT SELECT ON t TO someone\n```",
    "```sql\ncolumn_name\n```",
    "```sql\n\x00\x01\x02\n```",
    "```sql\nSELECT a FROM t GROUP BY GROUP BY\n```",
    "```sql\nINSERT INTO\n```",
    "```sql\nMERGE INTO t USING\n```",
    "```sql\nUPDATE t\n```",
]


@pytest.mark.parametrize("text", NOT_SQL)
def test_what_is_no_sql_gives_nothing(text: str) -> None:
    result = queries(text)
    assert result.queries == ()
    assert result.skipped.model_dump() == {"too_large": 0, "too_many": 0, "too_complex": 0}


NO_ARGUMENTS = [
    "",
    "null",
    "42",
    "{}",
    "[]",
    '{"sql": ',  # a cut call
    "SELECT a FROM t",  # not JSON
    '{"sql": null}',
    '{"sql": 7}',
    '{"sql": ""}',
    '{"sql": "the ten best customers"}',
    '{"query": "select two or three of them from anywhere nice"}',
    '{"query": "SELECT 1"}',
    '{"SELECT a FROM t": true}',
    '{"code": "import os\\nprint(1)"}',
    '{"text": "With kind regards"}',
    '{"city": "Paris", "unit": "celsius"}',
    '{"sql": "{{ query }}"}',
]


@pytest.mark.parametrize("arguments", NO_ARGUMENTS)
def test_arguments_without_sql_give_nothing(arguments: str) -> None:
    assert queries("", [arguments]).queries == ()


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for text in NOT_SQL:
            queries(text)
        queries("```sql\nCREATE SOMETHING secret; GRANT x TO secret; SELECT JSON_VALUE(a, 'secret[[') FROM t\n```")
    assert not caplog.records


def test_an_unknown_dialect_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="klingon"):
        queries("", dialect="klingon")
