"""Queries as they are written for Trino, and their lineage."""

from tests.unit.weir.lineage.cases import (
    EXCEPT,
    INTERSECT,
    UNION,
    UNION_ALL,
    Case,
    agg,
    distinct,
    group,
    join,
    table,
    unnest,
    window,
)

CASES = [
    Case(
        name="the example of the platform's documentation",
        sql="SELECT region, SUM(amount) AS total FROM public.sales "
        "WHERE sale_date >= DATE '2024-01-01' GROUP BY region",
        sources=[table("public.sales", "amount region sale_date", where="sale_date")],
        does=[agg("SUM", "amount", "total"), group("region")],
        gives=["region = direct(public.sales.region)", "total = aggregation(public.sales.amount)"],
    ),
    Case(
        name="a table by its full name, with an alias, and columns renamed",
        sql="SELECT o.id AS order_id, o.total FROM hive.shop.orders AS o WHERE o.status = 'paid' LIMIT 10",
        sources=[table("hive.shop.orders", "id status total", where="status")],
        gives=["order_id = direct(hive.shop.orders.id)", "total = direct(hive.shop.orders.total)"],
    ),
    Case(
        name="constants need no table",
        sql="SELECT 1 AS one, 'x' AS x, current_date",
        sources=[],
        gives=["one = literal()", "x = literal()", "_ = literal()"],
    ),
    Case(
        name="a CTE is no table",
        sql="""
            WITH totals AS (SELECT customer_id, SUM(amount) AS total FROM orders GROUP BY customer_id)
            SELECT customer_id, total FROM totals WHERE total > 100 ORDER BY total DESC
        """,
        sources=[table("orders", "amount customer_id", where="amount")],
        does=[agg("SUM", "amount", "total"), group("customer_id")],
        gives=["customer_id = direct(orders.customer_id)", "total = aggregation(orders.amount)"],
    ),
    Case(
        name="CTEs upon CTEs",
        sql="""
            WITH a AS (SELECT id, price * quantity AS amount FROM lines),
                 b AS (SELECT id, amount / 100 AS euros FROM a),
                 c (ident, rounded) AS (SELECT id, ROUND(euros) FROM b)
            SELECT ident, rounded FROM c
        """,
        sources=[table("lines", "id price quantity")],
        gives=["ident = direct(lines.id)", "rounded = expression(lines.price, lines.quantity)"],
    ),
    Case(
        name="a CTE hides the table of its name from others, not from itself, nor the one with a schema",
        sql="""
            WITH sales AS (SELECT id, amount FROM sales WHERE amount > 0)
            SELECT s.id, p.price FROM sales s JOIN public.sales p ON p.id = s.id
        """,
        sources=[
            table("public.sales", "id price", on="id"),
            table("sales", "amount id", where="amount", on="id"),
        ],
        does=[join("inner", "public.sales", "id")],
        gives=["id = direct(sales.id)", "price = direct(public.sales.price)"],
    ),
    Case(
        name="a recursive CTE",
        sql="""
            WITH RECURSIVE tree (id, name, depth) AS (
                SELECT id, name, 0 FROM staff WHERE manager_id IS NULL
                UNION ALL
                SELECT s.id, s.name, t.depth + 1 FROM staff s JOIN tree t ON s.manager_id = t.id
            )
            SELECT name, depth FROM tree
        """,
        sources=[table("staff", "id manager_id name", where="manager_id", on="id manager_id")],
        does=[join("inner", None, "manager_id id"), UNION_ALL],
        gives=["name = direct(staff.name)", "depth = literal()"],
    ),
    Case(
        name="a subquery in FROM is no table",
        sql="SELECT x.d, x.n FROM (SELECT date_trunc('day', ts) AS d, COUNT(*) AS n FROM logs "
        "GROUP BY 1) x WHERE x.n > 5",
        sources=[table("logs", "ts")],
        does=[agg("COUNT", "*", "n"), group("ts")],
        gives=["d = expression(logs.ts)", "n = aggregation()"],
    ),
    Case(
        name="a scalar subquery",
        sql="SELECT id, amount - (SELECT AVG(amount) FROM payments) AS above FROM payments p",
        sources=[table("payments", "amount id")],
        does=[agg("AVG", "amount")],
        gives=["id = direct(payments.id)", "above = aggregation(payments.amount)"],
    ),
    Case(
        name="EXISTS, with a column of the query around it",
        sql="SELECT c.name FROM customers c WHERE EXISTS (SELECT 1 FROM orders o "
        "WHERE o.customer_id = c.id AND o.paid)",
        sources=[
            table("customers", "id name", where="id"),
            table("orders", "customer_id paid", where="customer_id paid"),
        ],
        gives=["name = direct(customers.name)"],
    ),
    Case(
        name="IN with a subquery",
        sql="SELECT name FROM customers WHERE id IN (SELECT customer_id FROM orders WHERE total > 5) AND NOT banned",
        sources=[
            table("customers", "banned id name", where="banned id"),
            table("orders", "customer_id total", where="customer_id total"),
        ],
        gives=["name = direct(customers.name)"],
    ),
    Case(
        name="a plain star",
        sql="SELECT * FROM orders",
        sources=[table("orders", "*")],
        gives=["* = star(orders.*)"],
    ),
    Case(
        name="a star over a CTE is its columns",
        sql="WITH c AS (SELECT a, b + 1 AS b1 FROM t) SELECT * FROM c",
        sources=[table("t", "a b")],
        gives=["a = direct(t.a)", "b1 = expression(t.b)"],
    ),
    Case(
        name="a column through the star of one table is of that table",
        sql="SELECT x.a FROM (SELECT * FROM t) x WHERE b = 1",
        sources=[table("t", "* a b", where="b")],
        gives=["a = direct(t.a)"],
    ),
    Case(
        name="a column through the star of two tables may be of either",
        sql="SELECT x.a FROM (SELECT * FROM t JOIN u ON t.id = u.id) x",
        sources=[table("t", "* id", on="id"), table("u", "* id", on="id")],
        does=[join("inner", "u", "id")],
        gives=["a = direct(?.a)"],
    ),
    Case(
        name="qualified stars",
        sql="SELECT o.*, c.name FROM orders o LEFT JOIN customers c ON o.customer_id = c.id",
        sources=[table("customers", "id name", on="id"), table("orders", "* customer_id", on="customer_id")],
        does=[join("left", "customers", "customer_id id")],
        gives=["* = star(orders.*)", "name = direct(customers.name)"],
    ),
    Case(
        name="a self join",
        sql="SELECT e.name, m.name AS boss FROM staff e LEFT JOIN staff m ON e.manager_id = m.id",
        sources=[table("staff", "id manager_id name", on="id manager_id")],
        does=[join("left", "staff", "manager_id id")],
        gives=["name = direct(staff.name)", "boss = direct(staff.name)"],
    ),
    Case(
        name="USING makes one column of two",
        sql="SELECT id, a.x, b.y FROM a JOIN b USING (id)",
        sources=[table("a", "id x", on="id"), table("b", "id y", on="id")],
        does=[join("inner", "b", "id")],
        gives=["id = direct(a.id, b.id)", "x = direct(a.x)", "y = direct(b.y)"],
    ),
    Case(
        name="a column without a qualifier, where several tables may have it",
        sql="SELECT name, a.id FROM a, b WHERE a.id = b.id AND price > 3",
        sources=[table("a", "id", where="id"), table("b", "id", where="id")],
        does=[join("cross", "b")],
        gives=["name = direct(?.name)", "id = direct(a.id)"],
    ),
    Case(
        name="a column that a CTE is known to have is the CTE's",
        sql="WITH c AS (SELECT id, total FROM sums) SELECT total, t.x FROM t JOIN c ON t.id = c.id",
        sources=[table("sums", "id total", on="id"), table("t", "id x", on="id")],
        does=[join("inner", None, "id")],
        gives=["total = direct(sums.total)", "x = direct(t.x)"],
    ),
    Case(
        name="a CTE that does not have a column leaves it to the table",
        sql="WITH c AS (SELECT id FROM sums) SELECT x FROM t CROSS JOIN c",
        sources=[table("sums", "id"), table("t", "x")],
        does=[join("cross", None)],
        gives=["x = direct(t.x)"],
    ),
    Case(
        name="the alias of an inner query hides the one outside",
        sql="SELECT t.a, (SELECT MAX(t.b) FROM u t WHERE t.k = s.k) AS m FROM v t JOIN s ON t.id = s.id",
        sources=[
            table("s", "id k", where="k", on="id"),
            table("u", "b k", where="k"),
            table("v", "a id", on="id"),
        ],
        does=[join("inner", "s", "id"), agg("MAX", "b")],
        gives=["a = direct(v.a)", "m = aggregation(u.b)"],
    ),
    Case(
        name="windows",
        sql="""
            SELECT id,
                   ROW_NUMBER() OVER (PARTITION BY region, city ORDER BY amount DESC) AS place,
                   SUM(amount) OVER (PARTITION BY region) AS region_total,
                   amount - LAG(amount, 1) OVER (ORDER BY day) AS growth
            FROM sales
        """,
        sources=[table("sales", "amount city day id region")],
        does=[
            window("ROW_NUMBER", "", "place", by="region city", order="amount"),
            window("SUM", "amount", "region_total", by="region"),
            window("LAG", "amount", "growth", order="day"),
        ],
        gives=[
            "id = direct(sales.id)",
            "place = window(sales.amount, sales.city, sales.region)",
            "region_total = window(sales.amount, sales.region)",
            "growth = window(sales.amount, sales.day)",
        ],
    ),
    Case(
        name="a window over an aggregation",
        sql="SELECT region, RANK() OVER (ORDER BY SUM(amount) DESC) AS r FROM sales GROUP BY region",
        sources=[table("sales", "amount region")],
        does=[agg("SUM", "amount", "r"), group("region"), window("RANK", "", "r", order="amount")],
        gives=["region = direct(sales.region)", "r = window(sales.amount)"],
    ),
    Case(
        name="a filter on a window of a subquery",
        sql="""
            SELECT id FROM (SELECT id, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts DESC) AS rn FROM events) e
            WHERE rn = 1
        """,
        sources=[table("events", "id k ts", where="k ts")],
        does=[window("ROW_NUMBER", "", "rn", by="k", order="ts")],
        gives=["id = direct(events.id)"],
    ),
    Case(
        name="UNION ALL, by place",
        sql="SELECT id, name FROM a UNION ALL SELECT key, UPPER(label) FROM b",
        sources=[table("a", "id name"), table("b", "key label")],
        does=[UNION_ALL],
        gives=["id = direct(a.id, b.key)", "name = expression(a.name, b.label)"],
    ),
    Case(
        name="set operations in a row, within parentheses, with an ORDER BY",
        sql="(SELECT id FROM a UNION SELECT id FROM b) EXCEPT (SELECT id FROM c INTERSECT SELECT id FROM d) ORDER BY 1",
        sources=[table("a", "id"), table("b", "id"), table("c", "id"), table("d", "id")],
        does=[UNION, INTERSECT, EXCEPT],
        gives=["id = direct(a.id, b.id, c.id, d.id)"],
    ),
    Case(
        name="a union of stars",
        sql="SELECT * FROM a UNION ALL SELECT * FROM b",
        sources=[table("a", "*"), table("b", "*")],
        does=[UNION_ALL],
        gives=["* = star(a.*, b.*)"],
    ),
    Case(
        name="a union whose places a star hides",
        sql="SELECT * FROM a UNION ALL SELECT x, y FROM b",
        sources=[table("a", "*"), table("b", "x y")],
        does=[UNION_ALL],
        gives=["* = star(a.*)", "x = direct(b.x)", "y = direct(b.y)"],
    ),
    Case(
        name="CASE and casts are expressions; parentheses are none",
        sql="SELECT CASE WHEN a > 0 THEN b ELSE c END AS v, CAST(d AS INTEGER) AS i, (e) "
        "AS f, TRY_CAST(g AS DATE) FROM t",
        sources=[table("t", "a b c d e g")],
        gives=["v = expression(t.a, t.b, t.c)", "i = expression(t.d)", "f = direct(t.e)", "_ = expression(t.g)"],
    ),
    Case(
        name="HAVING",
        sql="SELECT k FROM t GROUP BY k HAVING COUNT(*) > 1 AND MAX(v) < 9",
        sources=[table("t", "k v", where="v")],
        does=[agg("COUNT", "*"), agg("MAX", "v"), group("k")],
        gives=["k = direct(t.k)"],
    ),
    Case(
        name="HAVING and ORDER BY with what is given anyway",
        sql="SELECT k, SUM(v) AS s FROM t GROUP BY k HAVING SUM(v) > 10 ORDER BY SUM(v), MIN(w)",
        sources=[table("t", "k v w", where="v")],
        does=[agg("SUM", "v", "s"), agg("MIN", "w"), group("k")],
        gives=["k = direct(t.k)", "s = aggregation(t.v)"],
    ),
    Case(
        name="GROUP BY ordinals and expressions",
        sql="SELECT year(d) AS y, region, COUNT(DISTINCT user_id) AS users FROM t GROUP BY 1, 2, month(e)",
        sources=[table("t", "d e region user_id")],
        does=[agg("COUNT", "user_id", "users", distinct=True), group("d region e")],
        gives=["y = expression(t.d)", "region = direct(t.region)", "users = aggregation(t.user_id)"],
    ),
    Case(
        name="GROUPING SETS",
        sql="SELECT a, b, SUM(c) AS s FROM t GROUP BY GROUPING SETS ((a, b), (a), ())",
        sources=[table("t", "a b c")],
        does=[agg("SUM", "c", "s"), group("a b")],
        gives=["a = direct(t.a)", "b = direct(t.b)", "s = aggregation(t.c)"],
    ),
    Case(
        name="several columns in an aggregation, and one of an expression",
        sql="SELECT SUM(price * quantity) AS revenue, MAX_BY(name, price) AS dearest, AVG(CAST(x "
        "AS DOUBLE)) AS ax FROM t",
        sources=[table("t", "name price quantity x")],
        does=[agg("SUM", "price quantity", "revenue"), agg("ARG_MAX", "name price", "dearest"), agg("AVG", "x", "ax")],
        gives=[
            "revenue = aggregation(t.price, t.quantity)",
            "dearest = aggregation(t.name, t.price)",
            "ax = aggregation(t.x)",
        ],
    ),
    Case(
        name="two aggregations in one column, and a FILTER",
        sql="SELECT SUM(a) * 1.0 / COUNT(b) AS ratio, COUNT(*) FILTER (WHERE ok) AS good FROM t",
        sources=[table("t", "a b ok", where="ok")],
        does=[agg("SUM", "a", "ratio"), agg("COUNT", "b", "ratio"), agg("COUNT", "*", "good")],
        gives=["ratio = aggregation(t.a, t.b)", "good = aggregation(t.ok)"],
    ),
    Case(
        name="quoted names keep their case, without the quotes",
        sql='SELECT "Order ID", s."Total" AS "Sum Total" FROM "Shop"."Order Items" AS s',
        sources=[table("Shop.Order Items", "Order~ID Total")],
        gives=["Order ID = direct(Shop.Order Items.Order ID)", "Sum Total = direct(Shop.Order Items.Total)"],
    ),
    Case(
        name="UNNEST",
        sql="SELECT o.id, item.sku, n FROM orders o CROSS JOIN UNNEST(o.items) WITH ORDINALITY AS x (item, n)",
        sources=[table("orders", "id items")],
        does=[unnest("items")],
        gives=["id = direct(orders.id)", "sku = expression(orders.items)", "n = literal()"],
    ),
    Case(
        name="UNNEST of two arrays, column by column",
        sql="SELECT k, v FROM t CROSS JOIN UNNEST(keys, vals) AS x (k, v)",
        sources=[table("t", "keys vals")],
        does=[unnest("keys vals")],
        gives=["k = expression(t.keys)", "v = expression(t.vals)"],
    ),
    Case(
        name="VALUES as a table",
        sql="SELECT v.code, t.x FROM t JOIN (VALUES (1, 'a'), (2, 'b')) AS v (id, code) ON v.id = t.kind",
        sources=[table("t", "kind x", on="kind")],
        does=[join("inner", None, "id kind")],
        gives=["code = literal()", "x = direct(t.x)"],
    ),
    Case(
        name="joins of all kinds",
        sql="""
            SELECT a.x FROM a
            RIGHT JOIN b ON a.id = b.id FULL OUTER JOIN c ON b.id = c.id CROSS JOIN d NATURAL JOIN e
        """,
        sources=[
            table("a", "id x", on="id"),
            table("b", "id", on="id"),
            table("c", "id", on="id"),
            table("d"),
            table("e"),
        ],
        does=[
            join("right", "b", "id"),
            join("full", "c", "id"),
            join("cross", "d"),
            join("inner", "e"),
        ],
        gives=["x = direct(a.x)"],
    ),
    Case(
        name="joins within parentheses",
        sql="SELECT a.x, c.y FROM a LEFT JOIN (b JOIN c ON b.id = c.id) ON a.id = b.a_id",
        sources=[
            table("a", "id x", on="id"),
            table("b", "a_id id", on="a_id id"),
            table("c", "id y", on="id"),
        ],
        does=[join("inner", "c", "id"), join("left", None, "id a_id")],
        gives=["x = direct(a.x)", "y = direct(c.y)"],
    ),
    Case(
        name="fields of rows, and lambdas",
        sql="SELECT t.payload.user.id AS uid, payload.kind, transform(xs, x -> x + y) AS zs FROM t",
        sources=[table("t", "payload xs y")],
        gives=["uid = direct(t.payload)", "kind = direct(t.payload)", "zs = expression(t.xs, t.y)"],
    ),
    Case(
        name="a recursion over numbers",
        sql="WITH RECURSIVE n (x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT x FROM n",
        sources=[],
        does=[UNION_ALL],
        gives=["x = literal()"],
    ),
    Case(
        name="aggregations that only Trino has",
        sql="SELECT MAP_AGG(k, v) AS m, APPROX_PERCENTILE(x, 0.5) AS p, GROUPING(k) AS g FROM t GROUP BY CUBE (k)",
        sources=[table("t", "k v x")],
        does=[agg("MAP_AGG", "k v", "m"), agg("APPROX_QUANTILE", "x", "p"), group("k")],
        gives=["m = aggregation(t.k, t.v)", "p = aggregation(t.x)", "g = expression(t.k)"],
    ),
    Case(
        name="DISTINCT",
        sql="SELECT DISTINCT region, city FROM sales",
        sources=[table("sales", "city region")],
        does=[distinct()],
        gives=["region = direct(sales.region)", "city = direct(sales.city)"],
    ),
    Case(
        name="a column qualified by its whole table",
        sql="SELECT shop.orders.id, hive.shop.orders.total FROM hive.shop.orders",
        sources=[table("hive.shop.orders", "id total")],
        gives=["id = direct(hive.shop.orders.id)", "total = direct(hive.shop.orders.total)"],
    ),
    Case(
        name="a CTE that no query uses is read all the same",
        sql="WITH a AS (SELECT x FROM t), b AS (SELECT y FROM u) SELECT x FROM a",
        sources=[table("t", "x"), table("u", "y")],
        gives=["x = direct(t.x)"],
    ),
    Case(
        name="a WITH inside a subquery, which sees the one outside",
        sql="WITH a AS (SELECT x FROM t) SELECT q.z FROM (WITH b AS (SELECT x + 1 AS z FROM a) SELECT z FROM b) q",
        sources=[table("t", "x")],
        gives=["z = expression(t.x)"],
    ),
]
