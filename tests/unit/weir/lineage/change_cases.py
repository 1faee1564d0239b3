"""Statements that write."""

from tests.unit.weir.lineage.cases import Case, agg, group, join, table

CASES = [
    Case(
        name="INSERT … SELECT with columns",
        sql="INSERT INTO mart.totals (region, total) SELECT r.name, SUM(s.amount) FROM sales s JOIN regions r "
        "ON s.region_id = r.id GROUP BY r.name",
        statement="insert",
        target="mart.totals",
        sources=[table("regions", "id name", on="id"), table("sales", "amount region_id", on="region_id")],
        does=[join("inner", "regions", "region_id id"), agg("SUM", "amount"), group("name")],
        gives=["region = direct(regions.name)", "total = aggregation(sales.amount)"],
    ),
    Case(
        name="INSERT … SELECT without columns, with a CTE",
        sql="INSERT INTO t WITH c AS (SELECT a FROM u) SELECT a FROM c",
        statement="insert",
        target="t",
        sources=[table("u", "a")],
        gives=["a = direct(u.a)"],
    ),
    Case(
        name="INSERT … SELECT *",
        sql="INSERT INTO t (a, b) SELECT * FROM u",
        statement="insert",
        target="t",
        sources=[table("u", "*")],
        gives=["a = direct(u.*)", "b = direct(u.*)"],
    ),
    Case(
        name="INSERT … VALUES",
        sql="INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')",
        statement="insert",
        target="t",
        sources=[],
        gives=["a = literal()", "b = literal()"],
    ),
    Case(
        name="CREATE TABLE AS",
        sql="CREATE TABLE hive.mart.daily WITH (format = 'PARQUET') AS SELECT day, COUNT(*) AS n "
        "FROM logs GROUP BY day",
        statement="create_table",
        target="hive.mart.daily",
        sources=[table("logs", "day")],
        does=[agg("COUNT", "*", "n"), group("day")],
        gives=["day = direct(logs.day)", "n = aggregation()"],
    ),
    Case(
        name="CREATE VIEW with columns",
        sql="CREATE OR REPLACE VIEW v (x, y) AS SELECT a, b + c FROM t",
        statement="create_view",
        target="v",
        sources=[table("t", "a b c")],
        gives=["x = direct(t.a)", "y = expression(t.b, t.c)"],
    ),
    Case(
        name="MERGE",
        sql="""
            MERGE INTO stock AS s USING (SELECT sku, SUM(n) AS n FROM deliveries GROUP BY sku) d ON s.sku = d.sku
            WHEN MATCHED AND d.n = 0 THEN DELETE
            WHEN MATCHED THEN UPDATE SET n = s.n + d.n
            WHEN NOT MATCHED THEN INSERT (sku, n) VALUES (d.sku, d.n)
        """,
        statement="merge",
        target="stock",
        sources=[
            table("deliveries", "n sku", where="n", on="sku"),
            table("stock", "n sku", on="sku"),
        ],
        does=[agg("SUM", "n", "n"), group("sku")],
        gives=["n = aggregation(deliveries.n, stock.n)", "sku = direct(deliveries.sku)"],
    ),
    Case(
        name="UPDATE",
        sql="UPDATE accounts SET balance = balance * (1 + rate), touched = current_timestamp WHERE kind = 'savings'",
        statement="update",
        target="accounts",
        sources=[table("accounts", "balance kind rate", where="kind")],
        gives=["balance = expression(accounts.balance, accounts.rate)", "touched = literal()"],
    ),
    Case(
        name="UPDATE of constants reads nothing",
        sql="UPDATE accounts SET closed = true",
        statement="update",
        target="accounts",
        sources=[],
        gives=["closed = literal()"],
    ),
    Case(
        name="DELETE",
        sql="DELETE FROM logs WHERE day < DATE '2024-01-01' AND id NOT IN (SELECT log_id FROM holds)",
        statement="delete",
        target="logs",
        sources=[table("holds", "log_id", where="log_id"), table("logs", "day id", where="day id")],
    ),
    Case(
        dialect="postgres",
        name="INSERT … ON CONFLICT DO UPDATE",
        sql="""
            INSERT INTO counts AS c (k, n) SELECT k, COUNT(*) FROM hits GROUP BY k
            ON CONFLICT (k) DO UPDATE SET n = c.n + EXCLUDED.n RETURNING n
        """,
        statement="insert",
        target="counts",
        sources=[table("counts", "n"), table("hits", "k")],
        does=[agg("COUNT", "*"), group("k")],
        gives=["k = direct(hits.k)", "n = aggregation(counts.n)"],
    ),
    Case(
        dialect="postgres",
        name="UPDATE … FROM",
        sql="UPDATE orders o SET region = c.region, (a, b) = (SELECT x, y FROM u) FROM customers c "
        "WHERE c.id = o.customer_id",
        statement="update",
        target="orders",
        sources=[
            table("customers", "id region", where="id"),
            table("orders", "customer_id", where="customer_id"),
            table("u", "x y"),
        ],
        gives=["region = direct(customers.region)", "a = direct(u.x)", "b = direct(u.y)"],
    ),
    Case(
        dialect="postgres",
        name="DELETE … USING",
        sql="DELETE FROM orders o USING customers c WHERE c.id = o.customer_id AND c.banned",
        statement="delete",
        target="orders",
        sources=[
            table("customers", "banned id", where="banned id"),
            table("orders", "customer_id", where="customer_id"),
        ],
    ),
    Case(
        dialect="postgres",
        name="INSERT of what a CTE deletes",
        sql="WITH gone AS (DELETE FROM live WHERE old RETURNING id, v) INSERT INTO archive SELECT id, v FROM gone",
        statement="insert",
        target="archive",
        sources=[table("live", "id old v", where="old")],
        gives=["id = direct(live.id)", "v = direct(live.v)"],
    ),
    Case(
        dialect="mysql",
        name="UPDATE of a join",
        sql="UPDATE orders o JOIN customers c ON c.id = o.customer_id SET o.region = c.region WHERE o.region IS NULL",
        statement="update",
        target="orders",
        sources=[
            table("customers", "id region", on="id"),
            table("orders", "customer_id region", where="region", on="customer_id"),
        ],
        does=[join("inner", "customers", "id customer_id")],
        gives=["region = direct(customers.region)"],
    ),
    Case(
        dialect="mysql",
        name="DELETE from a join",
        sql="DELETE o FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.banned",
        statement="delete",
        target="orders",
        sources=[
            table("customers", "banned id", where="banned", on="id"),
            table("orders", "customer_id", on="customer_id"),
        ],
        does=[join("inner", "customers", "id customer_id")],
    ),
    Case(
        dialect="tsql",
        name="UPDATE of an alias",
        sql="UPDATE a SET a.x = s.y FROM dbo.t AS a JOIN s ON s.id = a.id",
        statement="update",
        target="dbo.t",
        sources=[table("dbo.t", "id", on="id"), table("s", "id y", on="id")],
        does=[join("inner", "s", "id")],
        gives=["x = direct(s.y)"],
    ),
    Case(
        dialect="databricks",
        name="MERGE of all columns",
        sql="MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *",
        statement="merge",
        target="t",
        sources=[table("s", "* id", on="id"), table("t", "id", on="id")],
        gives=["* = star(s.*)"],
    ),
    Case(
        dialect="snowflake",
        name="CREATE TEMPORARY TABLE AS, with a CTE",
        sql="CREATE OR REPLACE TEMPORARY TABLE x AS WITH a AS (SELECT id FROM t) SELECT id FROM a",
        statement="create_table",
        target="x",
        sources=[table("t", "id")],
        gives=["id = direct(t.id)"],
    ),
    Case(
        dialect="bigquery",
        name="CREATE TABLE AS with a partition",
        sql="CREATE TABLE ds.d PARTITION BY day AS SELECT DATE(ts) AS day, v FROM `p.ds.raw`",
        statement="create_table",
        target="ds.d",
        sources=[table("p.ds.raw", "ts v")],
        gives=["day = expression(p.ds.raw.ts)", "v = direct(p.ds.raw.v)"],
    ),
]
