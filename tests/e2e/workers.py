"""Real workers, started as users start them (`faust -A app worker`), and the faults that tests do to them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from openai import AsyncOpenAI

from tests.services.process import free_ports, launch

UP_WITHIN_S = 180.0
DOWN_WITHIN_S = 120.0
ROOT = Path(__file__).parents[2]
FAUST = Path(sys.executable).with_name("faust")


@dataclass
class Worker:
    """One worker process, which may be killed and started again with the same settings."""

    env: Mapping[str, str]
    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    process: subprocess.Popen[bytes] | None = None
    app: str = "app"  # a module that makes something else of Weir, where a test needs that
    _client: AsyncOpenAI | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"worker-{self.port}.log"

    def client(self) -> AsyncOpenAI:
        """The stock client; one for all calls, closed with the worker."""
        if self._client is None:
            self._client = AsyncOpenAI(base_url=f"{self.url}/v1", api_key="test", max_retries=0, timeout=60)
        return self._client

    async def close(self) -> None:
        """Close the client that the test leaves behind."""
        await self.disconnect()
        if self.process is not None and self.process.poll() is None:
            self.kill()

    async def disconnect(self) -> None:
        """Close the client: it belongs to the event loop of one test, while the worker outlives the test."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its process, and of commands that run beside it."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", ""),
            "RESTAPI_PORT": str(self.port),
            "RESTAPI_HOST": "127.0.0.1",
            "RESTAPI_ADVERTISED_HOST": "127.0.0.1",
            "WEIR_DATA_DIR": str(self.folder / "data"),
            "RABBITMQ_URL": "",  # off, unless a test turns it on
            **self.env,
        }

    def launch(self) -> None:
        self.process = launch([str(FAUST), "-A", self.app, "worker"], env=self.environment, log=self.log)

    async def start(self) -> "Worker":
        self.launch()
        await self.up()
        return self

    async def up(self) -> None:
        deadline = time.monotonic() + UP_WITHIN_S
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                assert self.process is not None
                assert self.process.poll() is None, f"the worker ended:\n{self.log_end()}"
                try:
                    async with session.get(f"{self.url}/ping") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        raise AssertionError(f"not up within {UP_WITHIN_S} s:\n{self.log_end()}")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """SIGSTOP: it hangs, and keeps its connections."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, DOWN_WITHIN_S)

    def tell_tasks(self) -> None:
        """SIGUSR1: log the stack of each of its tasks."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)

    def log_end(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-40:])


async def get_json(url: str, *, within_s: float = 60.0, until: int = 200) -> dict[str, object]:
    """GET until the status is the wanted one: tables follow the log by milliseconds, owners by a rebalance."""
    deadline = time.monotonic() + within_s
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as answer:
                body: dict[str, object] = await answer.json()
                if answer.status == until:
                    return body
            assert time.monotonic() < deadline, f"{url}: {answer.status} {body}"
            await asyncio.sleep(0.1)
