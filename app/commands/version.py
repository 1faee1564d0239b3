"""``faust -A app version``: prints Weir's version. ``faust --version`` is Faust's own."""

import json

from faust.cli import AppCommand

from app import app


@app.command(name="version")
async def version(self: AppCommand) -> None:
    """Print Weir's version, its commit, and its platform; with --json as GET /version does."""
    self.say(json.dumps(app.version.as_json()) if self.state.json else str(app.version))
