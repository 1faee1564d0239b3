"""Reads numbers from the query of a request."""

import re
from typing import Final

from aiohttp import web

from weir.errors import InvalidRequestError

_DIGITS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)  # Python refuses to read 5,000 digits; and only ASCII digits count


def integer(http: web.Request, name: str, *, default: int, highest: int) -> int:
    """Return the number, from 1 on, of a query's parameter.

    Raises:
        InvalidRequestError: the parameter is another number, or not a number.
    """
    given = http.query.get(name)
    if given is None:
        return default
    if not _DIGITS.fullmatch(given) or not 1 <= int(given) <= highest:
        raise InvalidRequestError(f"'{name}' must be an integer from 1 to {highest}.", param=name)
    return int(given)
