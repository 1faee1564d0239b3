"""``faust -A app version``: which Weir this is. ``faust --version`` is Faust's own."""

import json

from faust.cli import AppCommand

from app import app


@app.command(name="version")
async def version(self: AppCommand) -> None:
    """Say Weir's version, the commit that it is made from, and what it runs on; with --json as GET /version does."""
    self.say(json.dumps(app.version.as_json()) if self.state.json else str(app.version))
