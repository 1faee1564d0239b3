"""Faust's worker for operators: Weir's log levels, and one line for an error that ends it."""

import logging
from pathlib import Path
from typing import Any

import faust
from faust.cli.base import DEFAULT_LOGLEVEL
from faust.exceptions import ImproperlyConfigured
from mode import ServiceT

from weir.log.log import LogError
from weir.settings import Settings
from weir.telemetry import logs


class FaustWorker(faust.Worker):
    """Faust's worker, at LOG_LEVEL unless ``--loglevel`` asks for something else than Faust's own default."""

    def __init__(self, app: Any, *services: ServiceT, loglevel: str | int | None = None, **kwargs: Any) -> None:
        self._weir = app
        self._settings: Settings = app.settings
        if loglevel in {None, DEFAULT_LOGLEVEL}:
            loglevel = self._settings.log_level.upper()
        super().__init__(app, *services, loglevel=loglevel, **kwargs)

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Log the progress of Weir, and of the engine only what an operator must act on."""
        super().on_setup_root_logger(logger, level)
        logs.set_up(logger, level)

    async def start(self) -> None:
        """Start; a worker that cannot start ends with one line."""
        try:
            _make_folder(Path(self._weir.conf.datadir), self._settings.weir_data_dir)
            await super().start()
        except (ImproperlyConfigured, LogError) as error:
            raise SystemExit(f"weir: {error}") from None

    def stop_and_shutdown(self) -> None:
        """Stop; a worker that has given up ends with one line."""
        try:
            super().stop_and_shutdown()
        except LogError as error:
            raise SystemExit(f"weir: {error}") from None


def _make_folder(folder: Path, named: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"WEIR_DATA_DIR={named} cannot be made: {error.strerror}") from None
