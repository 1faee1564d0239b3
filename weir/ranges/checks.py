"""Checks the options of a run, for the command and for HTTP alike, with the names that the commands give them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from weir.ranges.errors import UsageError

TEXT_MAX: Final = 256  # characters of a name, or of a field's value
LIMIT_MAX: Final = 100_000  # records of one run: some kilobytes are held in memory for each


def conditions(given: Iterable[str]) -> dict[str, str]:
    """The value that each field must have, from options of the form ``field=value``.

    Raises:
        UsageError: an option is not a condition, or not text; or a field is named twice.
    """
    found: dict[str, str] = {}
    for condition in given:
        name, equals, value = condition.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(f"--where: {condition[:80]!r} is not a condition: write it as field=value")
        if name in found:
            raise UsageError(f"--where: {name[:40]!r} is named twice, and all conditions must hold")
        _check_encodes("--where", condition)
        found[name] = value
    return found


def check_where(where: Mapping[str, str], fields: Collection[str]) -> None:
    """Check that the fields exist and may have the values.

    Raises:
        UsageError: a field or a value is wrong.
    """
    for name, value in where.items():
        if name not in fields:
            raise UsageError(f"--where: there is no field {name[:40]!r}; {', '.join(fields)}")
        check_text("--where", value)


def check_limit(limit: int) -> None:
    """Check that a run may have so many records.

    Raises:
        UsageError: it may not.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise UsageError(f"--limit: 1 to {LIMIT_MAX}")


def check_text(option: str, text: str, length_max: int = TEXT_MAX) -> None:
    """Check a name or a value.

    Raises:
        UsageError: it is too long or empty, or not text.
    """
    if not 1 <= len(text) <= length_max:
        raise UsageError(f"{option}: 1 to {length_max} characters")
    _check_encodes(option, text)


def _check_encodes(option: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a command line that are not text
        raise UsageError(f"{option}: {text[:80]!a} is not text") from None
