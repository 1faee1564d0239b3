"""The plan of a replay, checked: from the options of the command, or the body of POST /replays."""

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
RATE_MIN, RATE_MAX = 0.01, 10_000.0  # requests per second; a slower run would outlast the retention of its originals


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """The requests to replay, and the way to do it."""

    since: str  # in the form that ``weir.ranges.when`` reads
    until: str = "now"
    where: Mapping[str, str] = field(default_factory=dict)  # field → the value that it must have
    model: str | None = None  # None: each request's own
    route: str | None = None
    limit: int = LIMIT_MAX  # the most requests; the oldest are taken
    rate: float | None = None  # requests per second; None: as fast as ``concurrency`` allows
    concurrency: int = 8  # the most requests that are not answered yet
    texts: bool = False  # whether the report shows the texts of answers

    def __post_init__(self) -> None:
        """Check the plan.

        Raises:
            UsageError: the plan is wrong; the message names the option of the first mistake.
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
        """Whether the choice depends on the ends of the originals."""
        return any(name in OF_OUTCOME for name in self.where)

    def as_json(self) -> Json:
        """The plan as JSON, for the record of a run; ``plan_from`` reads it."""
        return asdict(self)


def plan_from(fields: Mapping[str, Any]) -> ReplayPlan:
    """Read a plan from a run's record.

    Raises:
        UsageError: the record holds no plan.
    """
    try:
        return ReplayPlan(**{name: value for name, value in fields.items() if name in ReplayPlan.__dataclass_fields__})
    except TypeError as error:
        raise UsageError(f"not the plan of a replay: {error}") from None


def rate_of(text: str | None) -> float | None:
    """``10`` or ``10/s``.

    Raises:
        UsageError: the text is neither.
    """
    if text is None:
        return None
    try:
        return float(text.removesuffix("/s"))
    except ValueError:
        raise UsageError(f"--rate: {text[:40]!r} is not a number of requests per second, such as 10/s") from None
