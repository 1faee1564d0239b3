"""``faust -A app compact`` on the log of a real worker: refused beside the worker; the log keeps its content."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from demo.text import expected_content
from tests.e2e.conftest import Start
from tests.e2e.workers import FAUST, ROOT, get_json
from tests.unit.demo.helpers import body_of, streamed
from weir.log.embedded.file import LogFile
from weir.log.log import Partition, TopicSpec


async def compact(data: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run,
        [str(FAUST), "-A", "app", "compact"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "WEIR_DATA_DIR": str(data), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def fill(path: Path) -> None:
    """A topic whose records have all expired, and a compacted one with one live key."""
    log = await asyncio.to_thread(LogFile.open, path, "NORMAL")
    await log.create_topics(
        [
            TopicSpec(name="expired", partitions=1, retention_s=1.0),
            TopicSpec(name="changes", partitions=1, compacted=True),
        ]
    )
    for topic in ("expired", "changes"):
        for _ in range(1500):
            log.append(Partition(topic, 0), b"key", bytes(1000), timestamp=0.0)
    await log.barrier()
    await asyncio.to_thread(log.close)


async def test_the_log_gets_smaller_and_keeps_what_it_holds(make_worker: Start) -> None:
    worker = await make_worker({}).start()
    body = body_of("demo:tokens=30", "compact me", uid="compact-1")
    await streamed(worker.client(), body)
    data = worker.folder / "data"
    beside = await compact(data)
    assert beside.returncode != 0
    assert "already has a worker" in beside.stderr
    assert "Traceback" not in beside.stderr
    assert await worker.stop() == 0

    await fill(data / "weir.db")
    before = (data / "weir.db").stat().st_size
    done = await compact(data)
    assert done.returncode == 0, done.stderr
    assert "MiB before" in done.stdout
    assert (data / "weir.db").stat().st_size < before - 2_500_000

    await worker.start()
    stored: Any = await get_json(f"{worker.url}/v1/chat/completions/compact-1")
    assert stored["choices"][0]["message"]["content"] == expected_content(body)
    await streamed(worker.client(), body_of("demo:tokens=3", "after it"))


async def test_where_there_is_nothing_to_compact_one_line_says_so(tmp_path: Path) -> None:
    missing = await compact(tmp_path)
    assert missing.returncode == 1
    assert missing.stderr.startswith("weir: there is no embedded log at ")
    on_kafka = await compact(tmp_path, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert on_kafka.returncode == 1
    assert "Kafka does it by itself" in on_kafka.stderr
