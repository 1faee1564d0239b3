"""One run."""

from tests.chaos.checks import check
from tests.chaos.plan import Options
from tests.chaos.scenario import prepared
from tests.fleet.verdict import judged


async def chaos(options: Options, *, keep: bool = False) -> list[str]:
    """Run the bench; returns the checks that fail."""
    return await judged("chaos", options.seed, lambda folder: prepared(options, folder), check, keep=keep)
