"""Rows that their changelog would refuse are not written: that would stop the worker, now and at each start."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
from tables import values
rows = {}
for size in (%d, %d):
    values.put(rows, b"key", bytes(size))
    print(len(rows.get(b"key", b"")))
"""


@pytest.mark.parametrize(
    ("record_bytes", "row_bytes"), [(None, 1_000_000), (8 << 20, 1_000_000), (1 << 16, (1 << 16) - 4096)]
)
def test_a_row_fits_into_a_record_of_its_changelog(record_bytes: int | None, row_bytes: int) -> None:
    given = (
        {} if record_bytes is None else dict.fromkeys(("KAFKA_MAX_MESSAGE_BYTES", "REQUEST_MAX_BYTES"), record_bytes)
    )
    env = {**os.environ} | {name: str(size) for name, size in given.items()}
    fits = row_bytes - len(b"key")
    program = PROGRAM % (fits, fits + 1)
    found = subprocess.run([sys.executable, "-c", program], env=env, check=True, capture_output=True, timeout=60)
    assert found.stdout.split() == [b"%d" % fits] * 2
    assert b"is not written" in found.stderr
