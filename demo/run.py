"""`make run`: finds an LLM or starts the demo model, then becomes the worker.

The demo model must not outlive the worker, however that ends. Its stdin is a pipe whose other end this process holds
and keeps when it becomes the worker (exec keeps inheritable descriptors); the kernel closes the pipe with the worker,
kill -9 included, and the demo model ends when its stdin does.
"""

import http.client
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

LOCAL_LLM_URL = "http://localhost:11434/v1"  # Ollama's, and the default of OPENAI_URL
_ANSWERS_WITHIN_S = 1.0

_DEMO_NOTE = """
======================================================================
  ANSWERS COME FROM A DEMO MODEL, NOT FROM A REAL LLM.

  No OPENAI_URL is set and nothing answers at {local}.
  The demo model runs at {url} until the worker ends.
  For real answers start Ollama, or point to any OpenAI-compatible
  server and start again:

    OPENAI_URL=https://... OPENAI_MODEL=... OPENAI_API_KEY=... make run
======================================================================
"""

_RABBITMQ_NOTE = """
RabbitMQ is off: a demo model must not take the requests of a RabbitMQ that runs on this machine.
"""

_LINKS = """
Look at it in a browser:

  http://localhost:{port}/requests      the requests, with their states
  http://localhost:{port}/v1/models     the models that can be used

Commands such as `faust -A app replay` are in {bin}: run {bin}/faust, or put it into PATH.
"""

_CURL = """
Ask something:

  curl --no-buffer -X POST 'http://localhost:{port}/v1/chat/completions' \\
    -H 'Content-Type: application/json' \\
    -d '{{
      "model": "{model}",
      "messages": [
        {{ "role": "user", "content": "Tell me a short story about a brave knight." }}
      ],
      "stream": true
    }}'
"""


def answers(url: str) -> bool:
    """Whether an OpenAI-compatible server lists its models at a base URL (http, with /v1) within 1 s."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_ANSWERS_WITHIN_S)
    try:
        connection.request("GET", f"{parts.path}/models")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def start_demo_model() -> str:
    """Starts the demo model as a child that ends with this process, also after this process has become the worker.

    Returns:
        Its base URL, with /v1; it is ready.

    Raises:
        RuntimeError: It ended before it was ready; its output is on stderr.
    """
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    command = [sys.executable, "-m", "demo.model", "--exit-with-stdin"]
    # A session of its own: Ctrl-C in the terminal is for the worker, which may want to finish its answers.
    child = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
        command, stdin=read_end, stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    os.close(read_end)
    with child.stdout as output:  # type: ignore[union-attr]  # it is a pipe
        line = output.readline()
    prefix, _, url = line.strip().rpartition(" ")
    if prefix != "demo model on":
        raise RuntimeError("the demo model did not start")
    child.returncode = 0  # not to be reaped here: it ends after this process, and Popen would warn that it still runs
    return url


def _without_login(url: str) -> str:
    """A URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _bin_folder() -> str:
    """The folder of this environment's commands, relative to the working directory."""
    return os.path.relpath(Path(sys.executable).parent)


def main(local_llm_url: str = LOCAL_LLM_URL) -> None:
    """Becomes the worker, and so does not return."""
    model, port = os.environ.get("OPENAI_MODEL") or "deepseek-r1:8b", os.environ.get("RESTAPI_PORT") or "8080"
    if os.environ.get("OPENAI_URL"):
        print(f"Answers come from OPENAI_URL, {_without_login(os.environ['OPENAI_URL'])}")
    elif answers(local_llm_url):
        os.environ.pop("OPENAI_URL", None)  # set but empty: the worker's default is meant
        print(f"Answers come from {local_llm_url}")
    else:
        os.environ["OPENAI_URL"] = url = start_demo_model()
        print(_DEMO_NOTE.format(local=local_llm_url, url=url))
        os.environ["RABBITMQ_URL"] = ""
        print(_RABBITMQ_NOTE)
    print(_CURL.format(port=port, model=model))
    print(_LINKS.format(port=port, bin=_bin_folder()), flush=True)
    command = [sys.executable, "-m", "faust", "-A", "app", "worker"]
    os.execv(command[0], command)  # noqa: S606  (a shell would be in the way of signals)


if __name__ == "__main__":
    main()
