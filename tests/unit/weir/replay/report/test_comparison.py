from typing import Any

import orjson
import pytest

from weir.replay.report.comparison import AnswerOutcome, Compared, compared_from

FULL = Compared(
    uid="rp-1",
    replay_of="req-1",
    tenant="acme",
    original=AnswerOutcome(
        model="old",
        status="completed",
        finish_reason="stop",
        attempts=1,
        latency_ms=1200.5,
        ttft_ms=300.0,
        input_tokens=10,
        output_tokens=20,
        cost_usd=0.00012,
        chars=80,
    ),
    replay=AnswerOutcome(model="new", status="failed", error_code="rate_limit_exceeded", attempts=5),
    similarity=None,
    identical=False,
    original_text="as it was \N{GRINNING FACE}",
)


def test_it_comes_back_from_json_as_it_was() -> None:
    assert compared_from(orjson.loads(orjson.dumps(FULL.as_json()))) == FULL


def test_fields_of_a_later_version_are_left_out() -> None:
    json = FULL.as_json()
    later = {**json, "colour": "blue", "original": {**json["original"], "energy_j": 12}}
    assert compared_from(later) == FULL


def test_what_an_earlier_version_did_not_know_has_its_default() -> None:
    bare = {"model": "m", "status": "running"}
    fields: dict[str, Any] = {"uid": "u", "replay_of": "o", "tenant": "t", "similarity": 1, "identical": True}
    assert compared_from({**fields, "original": bare, "replay": bare}).replay == AnswerOutcome(
        model="m", status="running"
    )


@pytest.mark.parametrize("name", ["uid", "replay_of", "tenant", "original", "replay", "similarity", "identical"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    json = FULL.as_json()
    del json[name]
    with pytest.raises(ValueError, match=name):
        compared_from(json)


def test_a_figure_that_is_none_is_named() -> None:
    json = FULL.as_json()
    json["replay"]["latency_ms"] = "soon"
    with pytest.raises(ValueError, match=r"replay\.latency_ms"):
        compared_from(json)
