"""Numbers in the query of a request."""

import re
from typing import Final

from aiohttp import web

from weir.errors import InvalidRequestError

_DIGITS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)  # Python refuses to read 5,000 of them, and other digits are none


def integer(http: web.Request, name: str, *, default: int, highest: int) -> int:
    """A number from 1 on that a query gives by name.

    Raises:
        InvalidRequestError: it gives another one, or none at all.
    """
    given = http.query.get(name)
    if given is None:
        return default
    if not _DIGITS.fullmatch(given) or not 1 <= int(given) <= highest:
        raise InvalidRequestError(f"'{name}' must be an integer from 1 to {highest}.", param=name)
    return int(given)
