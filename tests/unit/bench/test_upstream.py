"""The fake upstream: its chunks as the stock client reads them, and their times."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from openai import NotFoundError, OpenAI

from bench.upstream import Upstream, listen, model_name, script


class Served(Upstream):
    """Serves in a thread, until told to end."""

    ending = False

    def run(self) -> None:
        while not self.ending:
            self.step()


@pytest.fixture
def client() -> Iterator[OpenAI]:
    listener = listen(0)
    served = Served(listener)
    thread = threading.Thread(target=served.run)
    thread.start()
    port = listener.getsockname()[1]
    with OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0) as client:
        yield client
    served.ending = True
    socket.create_connection(("127.0.0.1", port)).close()  # wakes it
    thread.join()
    served.close()


def ask(client: OpenAI, model: str) -> list[str]:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    texts = []
    for chunk in stream:
        assert chunk.object == "chat.completion.chunk"
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
            assert chunk.choices[0].finish_reason is None
        elif chunk.choices:
            assert chunk.choices[0].finish_reason == "stop"
        else:
            assert chunk.usage is not None
            assert chunk.usage.completion_tokens == len(texts)
    return texts


@pytest.mark.parametrize("model", ["1-tokens-0-ms", "40-tokens-0-ms", "5-tokens-2-ms"])
def test_the_stock_client_reads_every_token_in_order(client: OpenAI, model: str) -> None:
    texts = ask(client, model)
    assert [text.partition("@")[0] for text in texts] == [str(index) for index in range(int(model.partition("-")[0]))]


def test_a_connection_is_used_again(client: OpenAI) -> None:
    for _ in range(3):
        assert len(ask(client, "4-tokens-0-ms")) == 4


def test_tokens_come_at_their_pace_and_tell_when_they_left(client: OpenAI) -> None:
    began_at = time.perf_counter()
    texts = ask(client, model_name(20, 5))
    left_at = [int(text.partition("@")[2]) / 1e6 for text in texts]
    assert len(left_at) == 20
    assert all(left - began_at >= 0.005 * place for place, left in enumerate(left_at, 1))  # none is early


def test_it_lists_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["50-tokens-5-ms"]


def test_another_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        ask(client, "gpt-4")


def test_usage_comes_only_when_asked_for() -> None:
    with_usage, without = (script("2-tokens-0-ms", include_usage=asked) for asked in (True, False))
    assert with_usage is not None
    assert without is not None
    assert b'"usage"' in with_usage.end
    assert b'"usage"' not in without.end
