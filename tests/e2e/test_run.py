"""`make run`, from its second line on: no service on the machine, and tokens come."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.text import expected_content
from tests.e2e.workers import ROOT, Worker, get_json
from tests.services.process import launch
from tests.unit.demo.helpers import body_of, streamed


class Run(Worker):
    """The processes that `make run` starts."""

    def launch(self) -> None:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", ""),
            "PYTHONPATH": str(ROOT),
            "RESTAPI_PORT": str(self.port),
            "RESTAPI_HOST": "127.0.0.1",
            "WEIR_DATA_DIR": str(self.folder / "data"),
        }
        # As `python -m demo.run`, except for the place where it looks for an LLM: there may be one on this machine.
        start = "from demo.run import main; main(local_llm_url='http://127.0.0.1:1/v1')"
        self.process = launch([sys.executable, "-c", start], env=env, log=self.log)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(env={}, folder=tmp_path)


async def test_make_run_answers_with_a_demo_that_says_so_and_keeps_answers_over_kill_9(run: Run) -> None:
    try:
        await run.start()
        assert "DEMO MODEL, NOT FROM A REAL LLM" in run.log.read_text()
        body = body_of("demo", uid="kept")
        answer = await streamed(run.client(), body)
        assert len(answer.deltas("content")) > 10, "token by token"
        run.kill()
        await run.start()
        stored: Any = await get_json(f"{run.url}/v1/chat/completions/chatcmpl-kept")
        text = stored["choices"][0]["message"]["content"]
        assert text == expected_content(body)
        assert "demo model, not a real LLM" in text
    finally:
        await run.close()
