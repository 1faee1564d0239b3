"""Parses a text to the syntax trees of its statements, within a budget.

A text is cut into statements before it is parsed, so that a broken statement does not affect the others.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.parser import Parser

from weir.lineage.limits import Budget, TooComplexError

_BEGINNINGS = frozenset({"SELECT", "WITH", "INSERT", "REPLACE", "CREATE", "MERGE", "UPDATE", "DELETE", "FROM", "("})
_OPEN = frozenset({TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE})
_CLOSE = frozenset({TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END})
_MOST_IN_A_ROW = 256  # dots of one name, or subscripts of a statement: sqlglot's cost is quadratic in them
_STEPS_PER_TOKEN = 4  # a plain query needs 1.0 to 1.3; nested array literals are read again and again
_STEPS_MORE = 10_000


def tokenize(sql: str, dialect: str) -> list[list[Token]]:
    """The tokens of each statement that may be a query; none if the text is not SQL."""
    try:
        tokens = Dialect.get_or_raise(dialect).tokenize(sql)
    except SqlglotError:
        return []
    return [found for found in _split(tokens) if found[0].text.upper() in _BEGINNINGS]


def _split(tokens: list[Token]) -> Iterator[list[Token]]:
    statement: list[Token] = []
    for token in tokens:
        if token.token_type is not TokenType.SEMICOLON:
            statement.append(token)
        elif statement:
            yield statement
            statement = []
    if statement:
        yield statement


def parse(tokens: list[Token], sql: str, dialect: str, *, depth: int, budget: Budget) -> exp.Expr | None:
    """The tree of a statement; None if it is not a statement.

    Raises:
        TooComplexError: the statement is nested too deep, or takes too many steps.
        RecursionError: the same, found by Python.
    """
    _check(tokens, depth)
    budget.refill(_STEPS_PER_TOKEN * len(tokens) + _STEPS_MORE)
    reader = Dialect.get_or_raise(dialect)
    parser = _counting(reader.parser_class)(dialect=reader)
    vars(parser)["budget"] = budget
    try:
        trees = parser.parse(tokens, sql)
    except SqlglotError:
        return None
    return trees[0] if len(trees) == 1 else None


@cache
def _counting(parser: type[Parser]) -> type[Parser]:
    """A parser class that spends a step for each token it takes, also where it takes a token again.

    It overrides a private method of sqlglot: sqlglot's own ``max_nodes`` does not count failed attempts, of which there
    can be 2 to the depth of the nesting.
    """
    advance = parser._advance  # noqa: SLF001 -- see above

    def counted(self: Any, times: int = 1) -> None:
        self.budget.spend()
        advance(self, times)

    return type(f"Counting{parser.__name__}", (parser,), {"_advance": counted})


def _check(tokens: list[Token], limit: int) -> None:
    depth = dots = subscripts = 0
    before = last = None
    for token in tokens:
        kind = token.token_type
        if kind in _OPEN:
            depth += 1
            subscripts += kind is TokenType.L_BRACKET and last is TokenType.R_BRACKET
        elif kind in _CLOSE:
            depth = max(0, depth - 1)
        elif kind is TokenType.DOT:
            dots = dots + 1 if before is TokenType.DOT else 1
        before, last = last, kind
        if depth > limit or max(dots, subscripts) > _MOST_IN_A_ROW:
            raise TooComplexError("nested too deep")
