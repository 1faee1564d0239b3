"""python -m tests.chaos: the fault bench. Ends with 0 only if every promise holds."""

import argparse
import asyncio
import random
import sys

from tests.chaos.chaos import chaos
from tests.chaos.plan import Options


def main() -> int:
    """Run the bench; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    seconds = parser.add_mutually_exclusive_group()
    seconds.add_argument("--seconds", type=float, default=Options.seconds, help="how long (%(default)g)")
    seconds.add_argument("--minutes", type=float, help="the same, in minutes")
    parser.add_argument("--seed", type=int, help="the same seed is the same plan (default: random, and printed)")
    parser.add_argument("--requests", type=int, default=Options.requests, help="how many (default: three a second)")
    parser.add_argument("--streams-s", default="5-20", help="length of an answer in seconds (%(default)s)")
    parser.add_argument("--workers", type=int, default=Options.workers, help="at most (%(default)s)")
    for name, default in (
        ("kill", Options.kill_every_s),
        ("stop", Options.stop_every_s),
        ("pause", Options.pause_every_s),
        ("kafka", Options.kafka_every_s),
        ("rabbitmq", Options.rabbitmq_every_s),
    ):
        help_text = "seconds between two of these faults; 0: never (%(default)g)"
        parser.add_argument(f"--{name}-every", type=float, default=default, help=help_text)
    parser.add_argument("--no-scale", action="store_true", help="all workers, all of the time")
    help_text = "keep the folder with the logs of a run that went well, too"
    parser.add_argument("--keep", action="store_true", help=help_text)
    given = parser.parse_args()
    shortest, _, longest = given.streams_s.partition("-")
    options = Options(
        seed=random.randrange(1_000_000) if given.seed is None else given.seed,
        seconds=given.minutes * 60 if given.minutes else given.seconds,
        requests=given.requests,
        streams_s=(float(shortest), float(longest or shortest)),
        workers=given.workers,
        kill_every_s=given.kill_every,
        stop_every_s=given.stop_every,
        pause_every_s=given.pause_every,
        kafka_every_s=given.kafka_every,
        rabbitmq_every_s=given.rabbitmq_every,
        scale=not given.no_scale,
    )
    return bool(asyncio.run(chaos(options, keep=given.keep)))


if __name__ == "__main__":
    sys.exit(main())
