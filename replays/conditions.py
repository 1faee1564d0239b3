"""``--where field=value``: conditions as people write them. Which fields there are is for each command to say."""

from collections.abc import Iterable

from replays.errors import UsageError


def conditions(given: Iterable[str]) -> dict[str, str]:
    """The value that each field must have.

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
        check_text("--where", condition)
        found[name] = value
    return found


def check_text(option: str, text: str) -> None:
    """Refuse bytes of a command line that are no text.

    Raises:
        UsageError: they are none.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option}: {text[:80]!a} is no text") from None
