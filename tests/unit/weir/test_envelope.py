"""The envelope of every event."""

import pytest

from weir import envelope
from weir.envelope import MalformedRecordError, new_id


def test_new_ids_are_new() -> None:
    assert len({new_id("evt") for _ in range(100)}) == 100
    assert new_id("evt").startswith("evt-")


def test_an_event_is_read_as_it_was_written() -> None:
    value = envelope.encode("evt-1", "a.type", "acme", {"n": 1})
    event = envelope.event_in(value)
    assert event is not None
    assert event == envelope.decode(value)
    assert (event.event_id, event.event_type, event.tenant_id, event.data) == ("evt-1", "a.type", "acme", {"n": 1})


@pytest.mark.parametrize("value", [None, b"", b"no JSON", b"[]", b"{}", b'{"data":{}}', b'{"data":[],"event_id":"e"}'])
def test_what_is_no_event_is_an_error_or_none(value: bytes | None) -> None:
    assert envelope.event_in(value) is None
    with pytest.raises(MalformedRecordError):
        envelope.decode(value)
