"""A real browser without a window, driven by the DevTools protocol: just enough to run a script in a page."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

UP_WITHIN_S = 30.0
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """The browser's path; without one the test fails, because only a browser shows what a browser does."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    assert found is not None, "no browser; `make system` installs one"
    return found


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Make one call of the protocol; returns its result."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": params})
        while True:
            told: dict[str, Any] = await self._socket.receive_json(timeout=UP_WITHIN_S)
            if told.get("id") == self._calls:
                assert "error" not in told, told
                return dict(told["result"])

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        told = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")


@asynccontextmanager
async def page_at(url: str, folder: Path) -> AsyncIterator[Page]:
    """A page of a new browser, which keeps its files in a folder and ends with the context."""
    profile = folder / "browser"
    process = subprocess.Popen(  # noqa: ASYNC220 -- returns at once
        [
            find_browser(),
            "--headless=new",
            "--no-sandbox",  # tests may run as root
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            port = await _port(profile / "DevToolsActivePort", process)
            async with session.get(f"http://127.0.0.1:{port}/json/list") as listed:
                target = next(tab for tab in await listed.json() if tab["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                await page.call("Page.navigate", url=url)
                async with asyncio.timeout(UP_WITHIN_S):
                    while not await page.run(f"location.href.startsWith('{url}') && document.readyState == 'complete'"):
                        await asyncio.sleep(0.05)
                yield page
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    async with asyncio.timeout(UP_WITHIN_S):
        while True:
            assert process.poll() is None, "the browser ended"
            if lines := _lines(file):
                return int(lines[0])
            await asyncio.sleep(0.05)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
