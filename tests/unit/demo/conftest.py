from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from demo.model import serving


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving() as base_url:
        yield base_url


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as openai:
        yield openai
