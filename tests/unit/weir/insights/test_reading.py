import pytest

from tests.unit.weir.insights.helpers import T0, metrics, seen, signal, tick
from weir.envelope import Event, MalformedRecordError
from weir.insights.reading import Measured, Ticked, read


def test_an_event_is_read_with_whose_it_is_and_its_own_time() -> None:
    found = seen(metrics(1.5))
    assert isinstance(found, Measured)
    assert (found.name, found.at_ms) == ("acme:m", T0 * 1000 + 1500)
    assert seen(tick(2)) == seen(tick(2, "signals")) == Ticked(T0 * 1000 + 2000)


def test_a_time_without_a_zone_is_utc() -> None:
    assert seen(metrics(ended_at="2027-01-15T08:00:00")).at_ms == T0 * 1000
    assert seen(metrics(ended_at="2027-01-15T10:00:00+02:00")).at_ms == T0 * 1000


@pytest.mark.parametrize("kind", ["metrics.quality", "something.else"])
def test_other_types_of_events_are_skipped(kind: str) -> None:
    assert read(Event("e", kind, "acme", "", "weir", {})) is None


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (metrics(ended_at="soon"), "`data.ended_at`"),
        (metrics(ended_at=None), "`data.ended_at`"),
        (metrics(status="lost"), "`data.status`"),
        (metrics(cost_usd=-1.0), "`data.cost_usd`"),
        (metrics(cost_usd=1e300), "`data.cost_usd`"),
        (metrics(input_tokens=10**30), "`data.input_tokens`"),
        (metrics(model=""), "`data.model`"),
        (metrics(model="m" * 1000), "`data.model`"),
        (metrics()._replace(tenant_id="a:b"), "`tenant_id`"),
        (signal(given_at="0000-00-00"), "`data.given_at`"),
        (signal(score=2.0), "`data.score`"),
        (Event("e", "metrics.tick", "t", "", "weir", {"at": ""}), "`data.at`"),
        (Event("e", "signals.tick", "t", "", "weir", {}), "`data.at`"),
    ],
)
def test_a_wrong_field_is_named(event: Event, told: str) -> None:
    with pytest.raises(MalformedRecordError, match=told):
        read(event)
