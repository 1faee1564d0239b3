from collections.abc import AsyncIterator

import pytest

from demo.model import serving


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving() as base_url:
        yield base_url
