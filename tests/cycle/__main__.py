"""python -m tests.cycle: the kill cycle, once or several times in a row. Ends with 0 only if everything holds."""

import argparse
import asyncio
import random
import sys

from tests.cycle.cycle import cycle
from tests.cycle.plan import Options
from tests.fleet.happenings import say


def main() -> int:
    """Run the cycle; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cycle", description=__doc__)
    parser.add_argument("--requests", type=int, default=Options.requests, help="how many (default: %(default)s)")
    parser.add_argument(
        "--duration", type=float, default=Options.duration_s, help="seconds over which they come in (%(default)g)"
    )
    parser.add_argument("--seed", type=int, help="the same seed is the same plan (default: random, and printed)")
    parser.add_argument("--repeat", type=int, default=1, help="so often, each time with the next seed (%(default)s)")
    help_text = "seconds that Kafka stays away, besides its restart (%(default)g)"
    parser.add_argument("--away", type=float, default=Options.away_s, help=help_text)
    parser.add_argument(
        "--keep", action="store_true", help="keep the folder with the logs of a run that went well, too"
    )
    given = parser.parse_args()
    first = random.randrange(1_000_000) if given.seed is None else given.seed
    for number in range(given.repeat):
        if given.repeat > 1:
            say(f"\n== run {number + 1} of {given.repeat}")
        options = Options(requests=given.requests, duration_s=given.duration, seed=first + number, away_s=given.away)
        if asyncio.run(cycle(options, keep=given.keep)):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
