"""Weir: chat requests go into a log, and the tokens of the answers come out of the log.

``faust -A app worker`` finds ``app`` here; agents and views call the parts in ``parts``.
"""

import os

from app import cli
from app.build import build
from weir.errors import SettingsError
from weir.settings import load_settings

cli.repair()
try:
    app, parts = build(load_settings(os.environ))
except SettingsError as error:
    raise SystemExit(f"weir: {error}") from None
