"""Weir: chat requests go into a log, the tokens of the answer come out of a log.

``faust -A app worker`` finds ``app`` here.
"""

import os

from app import cli
from app.core import Weir
from weir.errors import SettingsError
from weir.settings import load_settings

cli.repair()
try:
    app = Weir(load_settings(os.environ))
except SettingsError as error:
    raise SystemExit(f"weir: {error}") from None
