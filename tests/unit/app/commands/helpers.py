"""What commands see of the application."""

from types import SimpleNamespace
from typing import Any

from weir.chat.audit import Audit
from weir.events.publishing import Events
from weir.log.log import LogClient
from weir.log.tails import Tails
from weir.settings import load_settings


def app_of(log: LogClient, **environ: str) -> Any:
    events = Events(log)
    return SimpleNamespace(
        log_client=log, events=events, tails=Tails(log), audit=Audit(events), settings=load_settings(environ)
    )
