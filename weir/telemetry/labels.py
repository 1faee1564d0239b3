"""The values of metrics' labels: each label has few, known beforehand or bounded. No I/O."""

from collections.abc import Iterable

OTHER = "other"  # the label for all values without a label of their own
LABEL_MAX = 100  # characters of a label that a client chose

INGRESSES = frozenset({"http", "rabbitmq", "kafka"})
LIVE, REPLAY = "live", "replay"  # traffic: of clients, or of replays (docs/replay.md)
MARKS = frozenset({"begin", "takeover", "restart", "handoff"})
STATUSES = frozenset({"completed", "failed", "cancelled", "expired"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ERROR_TYPES = frozenset({
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "rate_limit_error",
    "insufficient_quota", "server_error", "service_unavailable_error", "timeout_error", "upstream_error",
})  # fmt: skip
ERROR_CODES = frozenset({
    # Weir's own
    "answer_timeout", "deadline_exceeded", "gone", "idempotency_key_reused", "internal_error",
    "invalid_json", "invalid_tenant", "log_refused", "log_truncated", "log_unavailable", "missing_required",
    "request_too_large", "stream_gap", "stream_interrupted", "stream_restarted", "too_many_attempts", "uid_conflict",
    "unsupported_media_type", "upstream_disconnected", "upstream_invalid_response", "upstream_timeout",
    "readers_memory", "upstream_unreachable", "void_marks", "worker_full", "worker_starting", "worker_stopping",
    # of the HTTP layer
    "bad_request", "headers_too_large", "invalid_body", "request_timeout", "too_many_connections",
    "unsupported_content_encoding",
    # OpenAI's, as LLMs send them
    "billing_hard_limit_reached", "content_filter", "content_policy_violation", "context_length_exceeded",
    "insufficient_quota", "invalid_api_key", "invalid_type", "invalid_value", "missing_required_parameter",
    "model_not_found", "rate_limit_exceeded", "server_error", "unsupported_parameter", "unsupported_value",
})  # fmt: skip


def known(value: str | None, values: frozenset[str]) -> str:
    """The label of a value: the value itself if it is known; else `OTHER`."""
    return value if value in values else OTHER


def traffic_label(*, replay: bool) -> str:
    """The label of a request: of a client, or of a replay."""
    return REPLAY if replay else LIVE


def error_label(code: str | None) -> str:
    """The label of an error code, which an LLM may have made up."""
    return known(code, ERROR_CODES)


class AtMost:
    """Labels for values that clients choose: a limited number have their own, the rest is `OTHER`."""

    def __init__(self, limit: int, known: Iterable[str] = ()) -> None:
        self._limit = limit
        self._known = {value[:LABEL_MAX] for value in known}

    def label(self, value: object, *, admit: bool) -> str:
        """The label of a value.

        Args:
            value: any value.
            admit: whether it may get a label of its own, if there is room.
        """
        name = value[:LABEL_MAX] if isinstance(value, str) and value else OTHER
        if name in self._known:
            return name
        if admit and len(self._known) < self._limit:
            self._known.add(name)
            return name
        return OTHER


class TopicLabels:
    """Labels for topics: those of this code base, and the worker's own changelogs; any other is `OTHER`.

    Args:
        names: the topics of this code base.
        changelogs: the beginning of the names of the worker's own changelog topics, behind the prefix.
        prefix: Faust's prefix of all names of topics, which the log client and the labels do without.
    """

    def __init__(self, names: Iterable[str], changelogs: str = "", prefix: str = "") -> None:
        self._changelogs = changelogs
        self._prefix = prefix
        self._labels = {label: label for label in names}
        self._labels |= {prefix + label: label for label in self._labels}

    def of(self, name: str) -> str:
        """The label of a topic. Called for each batch of records."""
        label = self._labels.get(name)
        if label is None:
            faust_has = bool(self._prefix) and name.startswith(self._prefix + self._changelogs)
            bare = name.removeprefix(self._prefix) if faust_has else name
            own = self._changelogs and bare.startswith(self._changelogs) and bare.endswith("-changelog")
            label = bare if own else OTHER
            if own:  # as many as there are tables; other names are not remembered
                self._labels[name] = label
        return label
