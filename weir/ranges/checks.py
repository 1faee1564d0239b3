"""What the doors to a run have in common: its options, checked, by the names that the commands give them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from weir.ranges.errors import UsageError

TEXT_MAX: Final = 256  # characters of a name, or of what a field must be
LIMIT_MAX: Final = 100_000  # of one run: what is known of each is held in memory, some kilobytes


def conditions(given: Iterable[str]) -> dict[str, str]:
    """The value that each field must have, of ``field=value`` as options have it.

    Raises:
        UsageError: one is no condition, or is no text; or a field is asked for twice.
    """
    found: dict[str, str] = {}
    for condition in given:
        name, equals, value = condition.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(f"--where: {condition[:80]!r} is no condition: write it as field=value")
        if name in found:
            raise UsageError(f"--where: {name[:40]!r} is asked for twice, and all conditions must hold")
        _check_encodes("--where", condition)
        found[name] = value
    return found


def check_where(where: Mapping[str, str], fields: Collection[str]) -> None:
    """Whether there are such fields, and they can have such values.

    Raises:
        UsageError: not all of them.
    """
    for name, value in where.items():
        if name not in fields:
            raise UsageError(f"--where: there is no field {name[:40]!r}; {', '.join(fields)}")
        check_text("--where", value)


def check_limit(limit: int) -> None:
    """Whether a run can have so many.

    Raises:
        UsageError: it cannot.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise UsageError(f"--limit: 1 to {LIMIT_MAX}")


def check_text(option: str, text: str, length_max: int = TEXT_MAX) -> None:
    """Whether something can have such a name or value.

    Raises:
        UsageError: it cannot.
    """
    if not 1 <= len(text) <= length_max:
        raise UsageError(f"{option}: 1 to {length_max} characters")
    _check_encodes(option, text)


def _check_encodes(option: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a command line that are no text
        raise UsageError(f"{option}: {text[:80]!a} is no text") from None
