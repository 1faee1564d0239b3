"""One run."""

from tests.cycle.checks import check
from tests.cycle.plan import Options
from tests.cycle.scenario import prepared
from tests.fleet.verdict import judged


async def cycle(options: Options, *, keep: bool = False) -> list[str]:
    """Run the cycle; returns the checks that fail."""
    return await judged("cycle", options.seed, lambda folder: prepared(options, folder), check, keep=keep)
