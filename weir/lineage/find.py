"""Finds texts in an answer that may be SQL: fenced blocks of its Markdown, and strings in tool call arguments.

Fences are CommonMark's, backticks or tildes, but indented as deep as they like, in lists and in quotations: models
write them so. One that is never closed counts too, as an answer may be cut.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from weir.lineage.dialects import DEFAULT, FROM_FIRST, dialect_of

_OPENING = re.compile(r"^((?:[ \t]|>|[-*+][ \t]|\d{1,9}[.)][ \t])*+)(`{3,}|~{3,})([^\n]*)$")
_BLANK = r"(?:\s|\(|--[^\n]*+(?:\n|$)|/\*.*?\*/)*+"
_BEGINNING = re.compile(
    _BLANK + r"(?:select|with|insert|replace|create|merge|update|delete)\b", re.IGNORECASE | re.DOTALL
)
_FROM = re.compile(_BLANK + r"from\b", re.IGNORECASE | re.DOTALL)


class SqlCandidate(NamedTuple):
    """A text that may be SQL."""

    sql: str
    dialect: str
    labelled: bool  # the answer calls it SQL: by a fence's language or an argument's name


def candidates(text: str, tool_arguments: Iterable[str], dialect: str) -> Iterator[SqlCandidate]:
    """The texts that may be SQL, in the order of the text, then of the tool calls."""
    for language, body in _fences(text):
        named = dialect if language in DEFAULT else dialect_of(language)
        if named and (language or _may_be_sql(body, dialect)):
            yield SqlCandidate(body, named, labelled=bool(language))
    for arguments in tool_arguments:
        yield from _strings(arguments, dialect)


def _fences(text: str) -> Iterator[tuple[str, str]]:
    """Language, in lower case, and content of each fenced block."""
    lines = iter(text.split("\n"))
    for line in lines:
        opening = _OPENING.match(line.rstrip("\r"))
        if opening is None or (opening[2][0] == "`" and "`" in opening[3]):
            continue
        quotes = opening[1].count(">")
        quoted = re.compile(rf"^(?:[ \t]*>){{0,{quotes}}}")
        closing = re.compile(rf"^[ \t]*{opening[2][0]}{{{len(opening[2])},}}[ \t]*$")
        content = []
        for inner in lines:
            bare = quoted.sub("", inner.rstrip("\r"))
            if closing.match(bare):
                break
            content.append(bare)
        else:  # never closed; the cut may have gone through the closing fence
            if content and not content[-1].strip().strip(opening[2][0]):
                content.pop()
        words = opening[3].strip().lstrip("{.").replace("}", " ").split(maxsplit=1)
        yield (words[0].casefold() if words else ""), "\n".join(content)


def _strings(arguments: str, dialect: str) -> Iterator[SqlCandidate]:
    """Strings in the arguments of one call, at any depth. A ``dialect`` beside a string names its dialect."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return
    stack: list[tuple[str, Any, str]] = [("", value, dialect)]
    while stack:
        key, value, named = stack.pop()
        if isinstance(value, str) and _may_be_sql(value, named):
            yield SqlCandidate(value, named, labelled=key.casefold() == "sql")
        elif isinstance(value, list):
            stack += [(key, item, named) for item in reversed(value)]
        elif isinstance(value, dict):
            said = value.get("dialect")
            named = (dialect_of(said) if isinstance(said, str) else None) or named
            stack += [(name, item, named) for name, item in reversed(value.items())]


def _may_be_sql(text: str, dialect: str) -> bool:
    """Whether a text begins as a statement does. Cheap, so that arguments that hold a file are not parsed."""
    return bool(_BEGINNING.match(text)) or (dialect in FROM_FIRST and bool(_FROM.match(text)))
