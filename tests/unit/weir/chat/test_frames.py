"""Frames as bytes: what is written is what is read, and a record that is not a frame is an error."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from weir import envelope
from weir.chat import frames
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.envelope import Json, MalformedRecordError

CHUNK: Json = {
    "id": "chatcmpl-req-1",
    "choices": [{"index": 0, "delta": {"content": "Grüße \u2028 👩‍👩‍👧"}, "logprobs": None, "x_unknown": [1, None]}],
    "usage": None,
}
NAMES: Json = {"uid": "req-1", "rid": "evt-1"}
FRAMES = {
    "begin": Frame(**NAMES, kind=FrameKind.BEGIN, attempt="att-1", after=-1, fingerprint="f"),
    "restart": Frame(**NAMES, kind=FrameKind.RESTART, attempt="att-2", after=2**40, fingerprint="f"),
    "chunks": Frame(**NAMES, kind=FrameKind.CHUNKS, attempt="att-1", seq=41, chunks=[CHUNK, {}]),
    "no chunks": Frame(**NAMES, kind=FrameKind.CHUNKS, attempt="att-1"),
    "heartbeat": Frame(**NAMES, kind=FrameKind.HEARTBEAT, attempt="att-1", seq=7),
    "attach": Frame(**NAMES, kind=FrameKind.ATTACH, submission="evt-2", first=0),
    "handoff": Frame(**NAMES, kind=FrameKind.HANDOFF, attempt="att-1", seq=7),
    "a reader comes": Frame(**NAMES, kind=FrameKind.READER, submission="reader-1", present=True),
    "a reader leaves": Frame(**NAMES, kind=FrameKind.READER, submission="reader-1"),
    "takeover": Frame(**NAMES, kind=FrameKind.TAKEOVER, attempt="att-2", after=7, fingerprint="f"),
    "conflict": Frame(**NAMES, kind=FrameKind.CONFLICT, submission="evt-2", first=12),
    "delivered": Frame(**NAMES, kind=FrameKind.DELIVERED, submission="evt-2", queue="response_x", fingerprint="f"),
    "completed": Frame(
        **NAMES,
        kind=FrameKind.TERMINAL,
        attempt="att-1",
        seq=9,
        terminal=Terminal(
            status=Status.COMPLETED,
            finish_reason="stop",
            usage={"total_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}},
            timings={"first_chunk_ms": 1.5, "total_ms": 20.0},
        ),
    ),
    "failed": Frame(
        **NAMES,
        kind=FrameKind.TERMINAL,
        attempt="att-1",
        terminal=Terminal(status=Status.FAILED, error={"message": "no", "type": "t", "status": 502}),
    ),
    "cancelled": Frame(**NAMES, kind=FrameKind.TERMINAL, terminal=Terminal(status=Status.CANCELLED)),
    "expired": Frame(**NAMES, kind=FrameKind.TERMINAL, terminal=Terminal(status=Status.EXPIRED)),
}


def written(frame: Frame) -> bytes:
    return frames.encode(frame, event_id="evt-9", tenant="acme")


def test_there_is_an_example_of_every_kind_and_every_end() -> None:
    assert {frame.kind for frame in FRAMES.values()} == set(FrameKind)
    assert {frame.terminal.status for frame in FRAMES.values() if frame.terminal} == set(Status)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_a_frame_is_read_as_it_was_written(frame: Frame) -> None:
    assert frames.decode(written(frame)) == frame


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_a_frame_is_an_event_with_the_six_fields_of_the_envelope(frame: Frame) -> None:
    fields = orjson.loads(written(frame))
    assert list(fields) == ["event_id", "event_type", "tenant_id", "timestamp", "source", "data"]
    assert fields["event_id"] == "evt-9"
    assert fields["event_type"] == f"chat.{frame.kind}"
    assert (fields["tenant_id"], fields["source"]) == ("acme", "weir")
    age = datetime.now(UTC) - datetime.fromisoformat(fields["timestamp"])
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_a_token_frame_carries_nothing_but_its_tokens() -> None:
    """It is the record that there are millions of."""
    assert set(orjson.loads(written(FRAMES["chunks"]))["data"]) == {"uid", "rid", "attempt", "seq", "chunks"}


def event(**data: object) -> bytes:
    return envelope.encode("evt-9", "chat.chunks", "acme", data)


def without(name: str) -> bytes:
    fields = orjson.loads(written(FRAMES["chunks"]))
    del fields[name]
    return orjson.dumps(fields)


MALFORMED: dict[str, tuple[bytes | None, str]] = {
    "a tombstone": (None, "not JSON"),
    "nothing": (b"", "not JSON"),
    "no JSON": (b"{", "not JSON"),
    "no UTF-8": (b'{"data": "\xff"}', "not JSON"),
    "no object": (b"[]", "`data`"),
    "a number": (b"7", "`data`"),
    "no data": (without("data"), "`data`"),
    "data that is no object": (b'{"event_id":"e","event_type":"t","tenant_id":"t","data":[]}', "`data`"),
    "no event id": (without("event_id"), "`event_id`"),
    "no event type": (without("event_type"), "`event_type`"),
    "no tenant": (without("tenant_id"), "`tenant_id`"),
    "an event id that is no string": (b'{"event_id":1,"event_type":"t","tenant_id":"t","data":{}}', "`event_id`"),
    "no uid": (event(rid="r", seq=0), "'uid'"),
    "no rid": (event(uid="u", seq=0), "'rid'"),
    "a mark that is unknown": (event(uid="u", rid="r", mark="shrug"), "shrug"),
    "a number that is none": (event(uid="u", rid="r", seq="one"), "one"),
    "a number that is null": (event(uid="u", rid="r", mark="begin", after=None), "None"),
    "an end without its status": (event(uid="u", rid="r", mark="terminal"), "'status'"),
    "an end of an unknown kind": (event(uid="u", rid="r", mark="terminal", status="bored"), "bored"),
    "chunks that are no list": (event(uid="u", rid="r", seq=0, chunks={"a": 1}), "chunks"),
    "a chunk that is no object": (event(uid="u", rid="r", seq=0, chunks=[{}, "x"]), "chunks"),
}


@pytest.mark.parametrize(("value", "names"), MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_frame_says_what_is_wrong(value: bytes | None, names: str) -> None:
    with pytest.raises(MalformedRecordError, match=names) as caught:
        frames.decode(value)
    assert "\n" not in str(caught.value)


def test_fields_of_a_later_version_are_skipped() -> None:
    fields = orjson.loads(written(FRAMES["chunks"]))
    fields["data"]["seam"] = {"at": 3}
    fields["schema"] = 2
    assert frames.decode(orjson.dumps(fields)) == FRAMES["chunks"]


def test_times_are_utc_with_microseconds() -> None:
    assert envelope.utc_iso(0) == "1970-01-01T00:00:00.000000Z"
    assert envelope.utc_iso(1.25) == "1970-01-01T00:00:01.250000Z"
