"""What commands see of the application."""

from types import SimpleNamespace
from typing import Any

from app.audit import Audit
from app.publishing import Events
from app.settings import load_settings
from transports.log import LogClient
from transports.tails import Tails


def app_of(log: LogClient, **environ: str) -> Any:
    events = Events(log)
    return SimpleNamespace(
        log_client=log, events=events, tails=Tails(log), audit=Audit(events), settings=load_settings(environ)
    )
