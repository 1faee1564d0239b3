"""What all events share: an event is an envelope (``weir.envelope``), and its ``data`` one of the models here.

A model is a contract with everybody who reads the topic. Within a schema version a field may be added, with a default;
none is renamed, removed, or given another unit. Readers ignore fields that they do not know. The version travels in the
record's header `SCHEMA_VERSION`, beside `EVENT_TYPE`, so that nobody has to parse a value to find out.
"""

import hashlib
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

EVENT_TYPE = "event_type"
SCHEMA_VERSION = "schema_version"
TRACEPARENT = "traceparent"  # W3C Trace Context, level 1
REPLAY = "replay"  # the run, of events about a request that is asked again: who adds up live traffic leaves them out
"""Names of record headers."""
RUN_ID = r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$"
"""What the id of a run looks like."""


class EventData(BaseModel):
    """The ``data`` of one type of event."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    EVENT_TYPE: ClassVar[str]  # dotted, lower case: subject.verb
    TOPIC: ClassVar[str]
    VERSION: ClassVar[int] = 1

    def record_key(self, tenant: str) -> str:
        """The key of its record: what must stay in order shares it."""
        raise NotImplementedError


class AboutRequest(EventData):
    """Keyed by the uid of the request that it is about."""

    uid: str

    def record_key(self, tenant: str) -> str:
        """The uid."""
        return self.uid


class AboutModel(EventData):
    """Keyed by tenant and model: what is added up for a model of a tenant is added up in one place."""

    model: str

    def record_key(self, tenant: str) -> str:
        """``tenant:model``."""
        return f"{tenant}:{self.model}"


def derived_id(*parts: object) -> str:
    """An event id that is the same whenever the same thing is told again: readers may drop what they have seen."""
    return f"evt-{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"
