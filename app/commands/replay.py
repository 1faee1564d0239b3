"""``faust -A app replay …``: processes again what the topics hold: see docs/replay.md."""

from faust.cli.base import cli


@cli.group(name="replay")
def replay() -> None:
    """Process again what stands in the topics.

    Exit codes: 0 done; 1 the log is away or refuses; 2 asked for what cannot be; 3 nothing in the range; 4 gone from
    the log; 5 unfinished, can be resumed; 6 differences; 7 cancelled; 130 stopped by Ctrl-C, can be resumed.
    """
