"""Weir: chat requests go into a log, the tokens of the answer come out of a log.

``faust -A app worker`` finds ``app`` here; agents and views take what they call from ``parts``.
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
