"""The promises of the embedded driver alone; what it shares with Kafka's is in ``tests/contracts/test_engine.py``."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.exceptions import ImproperlyConfigured

from tests.contracts.engines import Embedded, Worker
from tests.contracts.logs import until

pytestmark = [
    # Faust 0.15.3 and its dependencies on Python 3.11; none of it is about our code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Embedded]:
    stage = Embedded(str(tmp_path / "log.db"), tmp_path)
    await stage.open()
    yield stage
    await stage.close()


async def test_a_second_worker_on_the_file_is_told_to_use_kafka(stage: Embedded) -> None:
    async with Worker(stage).running():
        second = Worker(stage, "second")
        with pytest.raises(ImproperlyConfigured, match=r"already has a worker \(pid \d+\).*Kafka") as refused:
            await second.app.start()
        assert "\n" not in str(refused.value)
        await second.app.stop()


async def test_records_of_other_processes_reach_the_agent_without_polling(stage: Embedded) -> None:
    program = textwrap.dedent(f"""
        import asyncio
        from weir.log.embedded.client import EmbeddedLog

        async def main():
            log = EmbeddedLog({stage.address!r})
            await log.start()
            await log.append({stage.topic!r}, 1, b"k", b"from outside")
            await log.stop()

        asyncio.run(main())
    """)
    async with Worker(stage).running() as worker:
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True, timeout=20)
        await until(lambda: worker.values == [b"from outside"], within_s=0.5)


async def test_the_log_client_shares_the_file_with_the_worker(stage: Embedded) -> None:
    async with Worker(stage, broker=f"{stage.url}?sync=full").running() as worker:
        file = worker.app.transport.file
        assert file is stage.file
        await stage.close()
        await worker.topic.send(key=b"k", value=b"still open", partition=0)
        assert await worker.receive(1) == [b"still open"]


@pytest.mark.parametrize("broker", ["sqlite:///", "sqlite:///x.db?sync=perhaps"])
async def test_a_broker_url_that_cannot_be_meant_is_refused(broker: str, tmp_path: Path) -> None:
    app: Any = faust.App("refused", broker=broker, datadir=str(tmp_path))
    with pytest.raises(ImproperlyConfigured, match="broker sqlite"):
        _ = app.transport.file
