"""GET /schemas: the JSON Schema (2020-12) of each type of event."""

from aiohttp import web

from web.errors import json_response
from weir.errors import NotFoundError
from weir.events import catalogue


async def index(_http: web.Request) -> web.Response:
    """Answer with every type of event, with its topic and the path of its schema."""
    listed = [
        {
            "event_type": each.EVENT_TYPE,
            "topic": each.TOPIC,
            "schema_version": each.VERSION,
            "url": f"/schemas/{each.EVENT_TYPE}",
        }
        for each in catalogue.TYPES
    ]
    return json_response({"object": "list", "data": listed})


async def show(http: web.Request) -> web.Response:
    """Answer with the schema of one type."""
    name = http.match_info["event_type"]
    model = catalogue.BY_NAME.get(name)
    if model is None:
        raise NotFoundError(f"No type of event is called '{name[:100]}'.", code="unknown_event_type")
    return json_response(catalogue.schema(model))
