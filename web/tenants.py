"""Finds the tenant whose data a request asks for."""

from aiohttp import web

from weir.errors import InvalidRequestError


def named_tenant(http: web.Request) -> str | None:
    """Return the tenant that a request names, by ``?tenant=`` or X-Tenant-ID; None if it names none.

    A gateway that knows its users sets the header, so the query must not differ from it.

    Raises:
        InvalidRequestError: the query and the header differ.
    """
    named, header = http.query.get("tenant"), http.headers.get("X-Tenant-ID")
    if named is not None and header not in {None, named}:
        raise InvalidRequestError("'tenant' must be the tenant of X-Tenant-ID, or be left out.", param="tenant")
    return named or header
