"""A browser's own EventSource reads a stream, and comes back by itself when its worker dies."""

import asyncio
from pathlib import Path

from demo.text import expected_content
from tests.e2e.browser import page_at
from tests.e2e.conftest import Start
from tests.e2e.test_streams import begun
from tests.unit.demo.helpers import body_of

READ = """
window.text = ""; window.events = 0; window.done = 0; window.opened = 0;
window.source = new EventSource("/v1/chat/completions/chatcmpl-%s/stream");
source.onopen = () => { opened += 1; };
source.onmessage = (message) => {
    events += 1;
    if (message.data == "[DONE]") { done += 1; return; }
    const chunk = JSON.parse(message.data);
    if (chunk.choices.length) { text += chunk.choices[0].delta.content || ""; }
};
"""
CLOSED = 2


async def test_an_event_source_gets_each_token_once_though_its_worker_is_killed(
    make_worker: Start, tmp_path: Path
) -> None:
    worker = await make_worker({}, OPENAI_CONTINUATION="prefill").start()
    body = body_of("demo:tokens=150,delay_ms=30")
    _, uid = await begun(worker, body, events=1)
    async with page_at(f"{worker.url}/ping", tmp_path) as page:
        await page.run(READ % uid)
        async with asyncio.timeout(60):
            while await page.run("events") < 10:
                await asyncio.sleep(0.05)
        worker.kill()
        had = await page.run("text")
        await worker.start()
        async with asyncio.timeout(60):
            while await page.run("source.readyState") != CLOSED:  # told that there is nothing more
                await asyncio.sleep(0.1)
        assert await page.run("text") == expected_content(body)
        assert 0 < len(had) < len(expected_content(body))
        assert await page.run("done") == 1
        assert await page.run("opened") >= 2
