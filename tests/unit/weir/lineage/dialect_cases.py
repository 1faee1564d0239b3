"""Syntax of other dialects that Trino does not have, or has in another way."""

from tests.unit.weir.lineage.cases import UNION, UNION_ALL, Case, agg, distinct, group, join, table, unnest, window

POSTGRES = [
    Case(
        dialect="postgres",
        name="casts, DISTINCT ON and ILIKE",
        sql="SELECT DISTINCT ON (user_id) user_id, created_at::date AS day FROM logins WHERE agent ILIKE '%x%'",
        sources=[table("logins", "agent created_at user_id", where="agent")],
        does=[distinct("user_id")],
        gives=["user_id = direct(logins.user_id)", "day = expression(logins.created_at)"],
    ),
    Case(
        dialect="postgres",
        name="a lateral subquery sees what stands before it",
        sql="""
            SELECT c.name, last.total FROM customers c
            LEFT JOIN LATERAL (
                SELECT o.total FROM orders o WHERE o.customer_id = c.id ORDER BY o.ts DESC LIMIT 1
            ) last ON true
        """,
        sources=[
            table("customers", "id name", where="id"),
            table("orders", "customer_id total ts", where="customer_id"),
        ],
        does=[join("left", None)],
        gives=["name = direct(customers.name)", "total = direct(orders.total)"],
    ),
    Case(
        dialect="postgres",
        name="a series is no table",
        sql="SELECT d.day, COUNT(l.id) AS n FROM generate_series(1, 31) AS d(day) LEFT JOIN logs l "
        "ON l.day = d.day GROUP BY 1",
        sources=[table("logs", "day id", on="day")],
        does=[join("left", "logs", "day"), agg("COUNT", "id", "n"), group("day")],
        gives=["day = literal()", "n = aggregation(logs.id)"],
    ),
    Case(
        dialect="postgres",
        name="a function of a column makes rows",
        sql="SELECT t.id, e.key FROM t, jsonb_each(t.payload) AS e(key, value)",
        sources=[table("t", "id payload")],
        does=[unnest("payload")],
        gives=["id = direct(t.id)", "key = expression(t.payload)"],
    ),
    Case(
        dialect="postgres",
        name="WITHIN GROUP, and an order inside an aggregation",
        sql="""
            SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY latency) AS p50,
                   STRING_AGG(name, ',' ORDER BY ts) AS names
            FROM calls
        """,
        sources=[table("calls", "latency name ts")],
        does=[agg("PERCENTILE_CONT", "latency", "p50"), agg("GROUP_CONCAT", "name ts", "names")],
        gives=["p50 = aggregation(calls.latency)", "names = aggregation(calls.name, calls.ts)"],
    ),
    Case(
        dialect="postgres",
        name="a window by its name",
        sql="SELECT SUM(v) OVER w AS s, AVG(v) OVER w AS a FROM t WINDOW w AS (PARTITION BY k ORDER BY ts)",
        sources=[table("t", "k ts v")],
        does=[window("SUM", "v", "s", by="k", order="ts"), window("AVG", "v", "a", by="k", order="ts")],
        gives=["s = window(t.k, t.ts, t.v)", "a = window(t.k, t.ts, t.v)"],
    ),
    Case(
        dialect="postgres",
        name="an alias in GROUP BY is its expression",
        sql="SELECT DATE_TRUNC('month', ts) AS month, COUNT(*) AS n FROM logs GROUP BY month ORDER BY month",
        sources=[table("logs", "ts")],
        does=[agg("COUNT", "*", "n"), group("ts")],
        gives=["month = expression(logs.ts)", "n = aggregation()"],
    ),
    Case(
        dialect="postgres",
        name="an alias that has the name of its own column",
        sql="SELECT UPPER(name) AS name, COUNT(*) AS n FROM people GROUP BY name HAVING name <> ''",
        sources=[table("people", "name", where="name")],
        does=[agg("COUNT", "*", "n"), group("name")],
        gives=["name = expression(people.name)", "n = aggregation()"],
    ),
    Case(
        dialect="postgres",
        name="rows compared with a subquery",
        sql="SELECT id FROM t WHERE (a, b) IN (SELECT x, y FROM u) AND c = ANY (SELECT z FROM v)",
        sources=[table("t", "a b c id", where="a b c"), table("u", "x y", where="x y"), table("v", "z", where="z")],
        gives=["id = direct(t.id)"],
    ),
    Case(
        dialect="postgres",
        name="a deleting CTE gives what it returns",
        sql="WITH gone AS (DELETE FROM carts WHERE stale RETURNING id, owner) SELECT owner FROM gone",
        sources=[table("carts", "id owner stale", where="stale")],
        gives=["owner = direct(carts.owner)"],
    ),
]

BIGQUERY = [
    Case(
        dialect="bigquery",
        name="a path in backticks, and a project with a dash",
        sql="SELECT e.user_pseudo_id, d.x FROM `my-project.analytics.events` e JOIN my-project.dims.d "
        "AS d ON d.id = e.id",
        sources=[
            table("my-project.analytics.events", "id user_pseudo_id", on="id"),
            table("my-project.dims.d", "id x", on="id"),
        ],
        does=[join("inner", "my-project.dims.d", "id")],
        gives=[
            "user_pseudo_id = direct(my-project.analytics.events.user_pseudo_id)",
            "x = direct(my-project.dims.d.x)",
        ],
    ),
    Case(
        dialect="bigquery",
        name="UNNEST with its fields and offset",
        sql="SELECT p.key, p.value.int_value AS v, pos FROM ds.events, UNNEST(params) AS p WITH OFFSET "
        "AS pos WHERE p.key = 'a'",
        sources=[table("ds.events", "params", where="params")],
        does=[unnest("params")],
        gives=["key = expression(ds.events.params)", "v = expression(ds.events.params)", "pos = literal()"],
    ),
    Case(
        dialect="bigquery",
        name="an array of the table before it",
        sql="SELECT e.id, item.sku FROM ds.events AS e, e.items AS item",
        sources=[table("ds.events", "id items")],
        does=[unnest("items")],
        gives=["id = direct(ds.events.id)", "sku = expression(ds.events.items)"],
    ),
    Case(
        dialect="bigquery",
        name="a star with EXCEPT and REPLACE",
        sql="SELECT * EXCEPT (b) REPLACE (c / 100 AS c) FROM (SELECT a, b, c, d FROM t)",
        sources=[table("t", "a b c d")],
        gives=["a = direct(t.a)", "c = expression(t.c)", "d = direct(t.d)"],
    ),
    Case(
        dialect="bigquery",
        name="QUALIFY",
        sql="SELECT id, v FROM t WHERE ok QUALIFY ROW_NUMBER() OVER (PARTITION BY id ORDER BY ts DESC) = 1",
        sources=[table("t", "id ok ts v", where="id ok ts")],
        does=[window("ROW_NUMBER", by="id", order="ts")],
        gives=["id = direct(t.id)", "v = direct(t.v)"],
    ),
    Case(
        dialect="bigquery",
        name="UNION DISTINCT, and functions of its own",
        sql="""
            SELECT SAFE_DIVIDE(SUM(a), COUNTIF(b)) AS r FROM t
            UNION DISTINCT SELECT APPROX_COUNT_DISTINCT(c) FROM u
        """,
        sources=[table("t", "a b"), table("u", "c")],
        does=[agg("SUM", "a", "r"), agg("COUNT_IF", "b", "r"), agg("APPROX_DISTINCT", "c"), UNION],
        gives=["r = aggregation(t.a, t.b, u.c)"],
    ),
]

SNOWFLAKE = [
    Case(
        dialect="snowflake",
        name="FLATTEN, and a path into a variant",
        sql="SELECT t.id, f.value:name::string AS name, f.index "
        "FROM raw.t, LATERAL FLATTEN(input => t.payload:items) f",
        sources=[table("raw.t", "id payload")],
        does=[unnest("payload")],
        gives=["id = direct(raw.t.id)", "name = expression(raw.t.payload)", "index = expression(raw.t.payload)"],
    ),
    Case(
        dialect="snowflake",
        name="an alias that later expressions and WHERE use",
        sql="SELECT price * quantity AS amount, amount * 0.2 AS tax FROM lines WHERE amount > 10",
        sources=[table("lines", "price quantity", where="price quantity")],
        gives=["amount = expression(lines.price, lines.quantity)", "tax = expression(lines.price, lines.quantity)"],
    ),
    Case(
        dialect="snowflake",
        name="QUALIFY by an alias",
        sql="SELECT id, RANK() OVER (PARTITION BY k ORDER BY v) AS r FROM t QUALIFY r <= 3",
        sources=[table("t", "id k v", where="k v")],
        does=[window("RANK", "", "r", by="k", order="v")],
        gives=["id = direct(t.id)", "r = window(t.k, t.v)"],
    ),
    Case(
        dialect="snowflake",
        name="PIVOT",
        sql="SELECT region, p.q1 FROM (SELECT region, quarter, amount FROM sales) "
        "PIVOT (SUM(amount) FOR quarter IN ('q1', 'q2')) AS p (region, q1, q2)",
        sources=[table("sales", "amount quarter region")],
        does=[agg("SUM", "amount")],
        gives=["region = direct(sales.region)", "q1 = aggregation(sales.amount)"],
    ),
    Case(
        dialect="snowflake",
        name="UNPIVOT",
        sql="SELECT id, month, amount FROM sales UNPIVOT (amount FOR month IN (jan, feb))",
        sources=[table("sales", "feb id jan")],
        gives=["id = direct(sales.id)", "month = literal()", "amount = expression(sales.feb, sales.jan)"],
    ),
    Case(
        dialect="snowflake",
        name="quoted names of three parts",
        sql='SELECT s."Total" FROM "DB"."Public"."Sales 2024" s',
        sources=[table("DB.Public.Sales 2024", "Total")],
        gives=["Total = direct(DB.Public.Sales 2024.Total)"],
    ),
]

MYSQL = [
    Case(
        dialect="mysql",
        name="backticks, GROUP_CONCAT and IFNULL",
        sql="SELECT `user id`, GROUP_CONCAT(DISTINCT tag) AS tags, IFNULL(MAX(n), 0) AS n "
        "FROM shop.`tag list` GROUP BY `user id`",
        sources=[table("shop.tag list", "n tag user~id")],
        does=[agg("GROUP_CONCAT", "tag", "tags", distinct=True), agg("MAX", "n", "n"), group("user~id")],
        gives=[
            "user id = direct(shop.tag list.user id)",
            "tags = aggregation(shop.tag list.tag)",
            "n = aggregation(shop.tag list.n)",
        ],
    ),
    Case(
        dialect="mysql",
        name="STRAIGHT_JOIN, and strings in double quotes",
        sql='SELECT a.x FROM a STRAIGHT_JOIN b ON a.id = b.id WHERE a.kind = "paid"',
        sources=[table("a", "id kind x", where="kind", on="id"), table("b", "id", on="id")],
        does=[join("inner", "b", "id")],
        gives=["x = direct(a.x)"],
    ),
]

DUCKDB = [
    Case(
        dialect="duckdb",
        name="FROM first",
        sql="FROM 'sales.parquet' SELECT region, SUM(amount) AS s GROUP BY ALL",
        sources=[table("sales.parquet", "amount region")],
        does=[agg("SUM", "amount", "s"), group("region")],
        gives=["region = direct(sales.parquet.region)", "s = aggregation(sales.parquet.amount)"],
    ),
    Case(
        dialect="duckdb",
        name="UNION ALL BY NAME",
        sql="SELECT a, b FROM t UNION ALL BY NAME SELECT b, c FROM u",
        sources=[table("t", "a b"), table("u", "b c")],
        does=[UNION_ALL],
        gives=["a = direct(t.a)", "b = direct(t.b, u.b)", "c = direct(u.c)"],
    ),
    Case(
        dialect="duckdb",
        name="semi, anti and ASOF joins",
        sql="SELECT * FROM a SEMI JOIN b ON a.id = b.id ANTI JOIN c ON a.id = c.id ASOF JOIN p ON a.ts >= p.ts",
        sources=[
            table("a", "* id ts", on="id ts"),
            table("b", "id", on="id"),
            table("c", "id", on="id"),
            table("p", "* ts", on="ts"),
        ],
        does=[join("semi", "b", "id"), join("anti", "c", "id"), join("asof", "p", "ts")],
        gives=["* = star(a.*)", "* = star(p.*)"],
    ),
]

OTHERS = [
    Case(
        dialect="spark",
        name="LATERAL VIEW, and two aliases for one expression",
        sql="SELECT id, tag, explode(props) AS (k, v) FROM posts LATERAL VIEW explode(tags) e AS tag",
        sources=[table("posts", "id props tags")],
        does=[unnest("tags")],
        gives=[
            "id = direct(posts.id)",
            "tag = expression(posts.tags)",
            "k = expression(posts.props)",
            "v = expression(posts.props)",
        ],
    ),
    Case(
        dialect="tsql",
        name="TOP, brackets, CROSS APPLY and SELECT INTO",
        sql="SELECT TOP 5 [o].[id], x.total INTO #tops FROM [dbo].[Order Lines] AS o "
        "CROSS APPLY (SELECT SUM(p.amount) AS total FROM payments p WHERE p.order_id = o.id) AS x",
        sources=[table("dbo.Order Lines", "id", where="id"), table("payments", "amount order_id", where="order_id")],
        does=[agg("SUM", "amount", "total"), join("cross", None)],
        gives=["id = direct(dbo.Order Lines.id)", "total = aggregation(payments.amount)"],
        statement="create_table",
        target="#tops",
    ),
    Case(
        dialect="oracle",
        name="a CTE that is recursive without being called so",
        sql="WITH r (id) AS (SELECT id FROM t WHERE root = 1 UNION ALL SELECT t.id FROM t JOIN r "
        "ON t.up = r.id) SELECT id FROM r",
        sources=[table("t", "id root up", where="root", on="id up")],
        does=[join("inner", None, "up id"), UNION_ALL],
        gives=["id = direct(t.id)"],
    ),
    Case(
        dialect="redshift",
        name="a table of another catalog, and a count of a constant",
        sql="SELECT COUNT(1) AS n FROM ext.public.hits WHERE ts > GETDATE()",
        sources=[table("ext.public.hits", "ts", where="ts")],
        does=[agg("COUNT", "", "n")],
        gives=["n = aggregation()"],
    ),
]

OTHERS += [
    Case(
        dialect="clickhouse",
        name="ARRAY JOIN, PREWHERE, FINAL and functions of its own",
        sql="SELECT k, uniqExact(v) AS u, sumIf(a, b) AS s FROM t FINAL ARRAY JOIN xs AS x PREWHERE x > 1 GROUP BY k",
        sources=[table("t", "a b k v xs", where="xs")],
        does=[unnest("xs"), agg("UNIQEXACT", "v", "u"), agg("SUMIF", "a b", "s"), group("k")],
        gives=["k = direct(t.k)", "u = aggregation(t.v)", "s = aggregation(t.a, t.b)"],
    ),
    Case(
        dialect="tsql",
        name="a CTE that is written through",
        sql="WITH c AS (SELECT a, b FROM t) UPDATE c SET a = b + 1",
        statement="update",
        sources=[table("t", "a b")],
        gives=["a = expression(t.b)"],
    ),
]

CASES = [*POSTGRES, *BIGQUERY, *SNOWFLAKE, *MYSQL, *DUCKDB, *OTHERS]
