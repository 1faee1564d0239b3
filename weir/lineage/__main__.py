"""The process that reads questions from its input and answers them, a line of JSON each; it ends with its input.

{"text": …, "tool_arguments": […], "dialect": …}  ->  a ``weir.lineage.model.Lineage``
"""

import os
import sys

import orjson

from weir.lineage import queries

NICE = 10  # a worker's answers come first


def main() -> None:
    """Answer questions until the input ends."""
    os.nice(NICE)
    for line in sys.stdin.buffer:
        question = orjson.loads(line)
        found = queries(question["text"], question["tool_arguments"], dialect=question["dialect"])
        sys.stdout.buffer.write(found.model_dump_json().encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
