"""The base of all events: an event is an envelope (``weir.envelope``), and its ``data`` one of the models here.

A model is a contract with every reader of the topic. Within a schema version a field may be added, with a default; no
field is renamed, removed, or given another unit. Readers ignore fields that they do not know. The version is in the
record's header `SCHEMA_VERSION`, beside `EVENT_TYPE`, so that no reader has to parse the value for it.
"""

import hashlib
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

EVENT_TYPE = "event_type"
SCHEMA_VERSION = "schema_version"
TRACEPARENT = "traceparent"  # W3C Trace Context, level 1
# id of the run, on events about a replayed request, so that a reader of live figures can leave them out
REPLAY = "replay"
"""Names of record headers."""
RUN_ID = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"
"""The form of a run's id."""


class EventData(BaseModel):
    """The ``data`` of one type of event."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    EVENT_TYPE: ClassVar[str]  # dotted, lower case: subject.verb
    TOPIC: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def record_key(self, tenant: str) -> str:
        """The key of its record: records whose order matters share it."""
        raise NotImplementedError


class AboutRequest(EventData):
    """Data about one request, keyed by its uid."""

    uid: str

    def record_key(self, tenant: str) -> str:
        """The key of its record: the uid."""
        return self.uid


class AboutModel(EventData):
    """Data about one model of a tenant, keyed by both, so that one partition has all figures to add up."""

    model: str

    def record_key(self, tenant: str) -> str:
        """The key of its record: ``tenant:model``."""
        return f"{tenant}:{self.model}"


def derived_id(*parts: object) -> str:
    """An event id that is the same whenever the same event is published again: readers may drop repeated ids."""
    return f"evt-{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"
