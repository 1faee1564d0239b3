"""What somebody wants to have replayed, checked: the options of the command, or the body of POST /replays."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from weir.chat.account import ROUTE
from weir.envelope import Json
from weir.ranges.checks import LIMIT_MAX, check_limit, check_text, check_where
from weir.ranges.errors import UsageError

OF_REQUEST: Final = ("uid", "tenant", "model", "ingress", "username", "session_id", "stream")
OF_OUTCOME: Final = ("status", "finish_reason", "error_code")
CONCURRENCY_MAX: Final = 256  # a run shares the LLM with clients
RATE_MIN, RATE_MAX = 0.01, 10_000.0  # requests per second; more slowly, a run would outlive what it reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which requests are replayed, and how."""

    since: str  # as ``weir.ranges.when`` reads it
    until: str = "now"
    where: Mapping[str, str] = field(default_factory=dict)  # field → value that it must have
    model: str | None = None  # None: each request's own
    route: str | None = None
    limit: int = LIMIT_MAX  # the oldest so many
    rate: float | None = None  # requests per second; None: as fast as ``concurrency`` lets them
    concurrency: int = 8  # requests that are not answered yet
    texts: bool = False  # whether the report shows what was said

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            UsageError: the first thing that is wrong, with its option.
        """
        check_where(self.where, (*OF_REQUEST, *OF_OUTCOME))
        if self.route not in {None, ROUTE}:
            raise UsageError(f"--route: there is no route {str(self.route)[:40]!r}; there is {ROUTE}")
        if self.model is not None:
            check_text("--model", self.model)
        check_limit(self.limit)
        if not 1 <= self.concurrency <= CONCURRENCY_MAX:
            raise UsageError(f"--concurrency: 1 to {CONCURRENCY_MAX}")
        if self.rate is not None and not RATE_MIN <= self.rate <= RATE_MAX:
            raise UsageError(f"--rate: {RATE_MIN:g} to {RATE_MAX:g} requests per second")

    @property
    def of_outcome(self) -> bool:
        """Whether the originals' ends must be known to choose."""
        return any(name in OF_OUTCOME for name in self.where)

    def as_json(self) -> Json:
        """For the record of a run, as ``plan_from`` reads it."""
        return asdict(self)


def plan_from(fields: Mapping[str, Any]) -> Plan:
    """A plan from a run's record.

    Raises:
        UsageError: it holds what is none.
    """
    try:
        return Plan(**{name: value for name, value in fields.items() if name in Plan.__dataclass_fields__})
    except TypeError as error:
        raise UsageError(f"not the plan of a replay: {error}") from None


def rate_of(text: str | None) -> float | None:
    """``10`` or ``10/s``.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    try:
        return float(text.removesuffix("/s"))
    except ValueError:
        raise UsageError(f"--rate: {text[:40]!r} is no number of requests per second, such as 10/s") from None
