"""The lifecycle of a request, as a table of legal transitions. The diagram in docs/ is made from it."""

from enum import StrEnum


class State(StrEnum):
    """The state of a request. The last four are terminal: of them, only failed and expired can begin again."""

    UNKNOWN = "unknown"  # no event about it yet
    ACCEPTED = "accepted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Happening(StrEnum):
    """A step in the life of a request: the ``event_type`` of an agent-trace event."""

    ACCEPTED = "request.accepted"  # a door wrote it to the topic
    ATTEMPTED = "attempt.started"  # an LLM call for it begins
    COMPLETED = "request.completed"
    FAILED = "request.failed"
    CANCELLED = "request.cancelled"
    EXPIRED = "request.expired"
    REDRIVEN = "request.redriven"  # it came back from the dead letters, and is answered again
    FORGOTTEN = "request.forgotten"  # past the tables' expiry: no step, its row is removed


_ENDS = {
    Happening.COMPLETED: State.COMPLETED,
    Happening.FAILED: State.FAILED,
    Happening.CANCELLED: State.CANCELLED,
    Happening.EXPIRED: State.EXPIRED,
}

TRANSITIONS: dict[tuple[State, Happening], State] = {
    (State.UNKNOWN, Happening.ACCEPTED): State.ACCEPTED,
    # Door and agent are different producers, so the agent's event may come first.
    (State.UNKNOWN, Happening.ATTEMPTED): State.RUNNING,
    (State.RUNNING, Happening.ACCEPTED): State.RUNNING,
    (State.ACCEPTED, Happening.ATTEMPTED): State.RUNNING,
    # A second attempt, after the worker of the first one died.
    (State.RUNNING, Happening.ATTEMPTED): State.RUNNING,
    **{(state, end): after for end, after in _ENDS.items() for state in (State.UNKNOWN, State.ACCEPTED, State.RUNNING)},
    (State.FAILED, Happening.REDRIVEN): State.ACCEPTED,
    (State.EXPIRED, Happening.REDRIVEN): State.ACCEPTED,
    # The event of its end may come later, or never; its row may be gone.
    (State.UNKNOWN, Happening.REDRIVEN): State.ACCEPTED,
    (State.ACCEPTED, Happening.REDRIVEN): State.ACCEPTED,
    (State.RUNNING, Happening.REDRIVEN): State.ACCEPTED,
}

TERMINAL = frozenset(_ENDS.values())


def transition(state: State, happening: Happening) -> State | None:
    """Return the state after ``happening``, or None where that is not a legal transition: then nothing changes."""
    return TRANSITIONS.get((state, happening))
