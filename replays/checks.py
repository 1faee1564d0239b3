"""What the doors to a run have in common: its options, checked, by the names that the commands give them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from replays.errors import UsageError

TEXT_MAX: Final = 256  # characters of a name, or of what a field must be
LIMIT_MAX: Final = 100_000  # of one run: what is known of each is held in memory, some kilobytes


def conditions(given: Sequence[str]) -> dict[str, str]:
    """``field=value`` each, as options have them.

    Raises:
        UsageError: one has no ``=``.
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--where: {text[:80]!r} is not field=value")
        if name.strip() in found:
            raise UsageError(f"--where: {name.strip()[:40]!r} is asked for twice, and all conditions must hold")
        found[name.strip()] = value
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
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of a command line that are no text
        raise UsageError(f"{option}: {text!a} is no text") from None
