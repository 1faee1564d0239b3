"""The report of a run over dead letters, done or planned: as JSON, and as text."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from weir.envelope import Json, utc_iso
from weir.replay.dead_letters.choosing import Choice, Chosen

GROUPS_MAX: Final = 30  # groups of letters in the report: LLMs word the same error in many ways
EXAMPLES: Final = 5
OTHER: Final = "other reasons"


def report_of(
    choice: Choice,
    *,
    run: str | None = None,
    sent: Collection[str] = (),
    skipped: Mapping[str, int] | None = None,
    orders: Mapping[str, int] | None = None,
    requests: Mapping[str, Any] | None = None,
) -> Json:
    """Make a report.

    Args:
        choice: the letters that were chosen.
        run: the run's id; None if nothing is to be sent.
        sent: letters that were sent.
        skipped: reasons why other letters were not sent, besides those in ``choice``.
        orders: of RabbitMQ: how many were ordered again, and how many are gone.
        requests: how many requests were sent, whether their ends were awaited, and how they ended.
    """
    why = choice.skipped + Counter(skipped or {})
    done = {
        "run": run,
        "letters": len(choice.chosen),
        "sent": len(sent),
        "by": list(_groups(choice.chosen, sent)),
        "skipped": dict(why.most_common()),
        "repeated": choice.repeated,
        "requests": dict(requests or {}),
        "rabbitmq": dict(orders or {}),
    }
    return done if run is not None else done | {"examples": [_example(one) for one in choice.chosen[:EXAMPLES]]}


def _groups(chosen: Sequence[Chosen], sent: Collection[str]) -> Iterator[Json]:
    count, gone = Counter((one.topic, one.reason) for one in chosen), Counter[tuple[str, str]]()
    known = {name for name, _ in count.most_common(GROUPS_MAX)}
    count = Counter()
    for one in chosen:
        name = (one.topic, one.reason) if (one.topic, one.reason) in known else (one.topic, OTHER)
        count[name] += 1
        gone[name] += one.id in sent
    for (topic, reason), letters in count.most_common():
        yield {"topic": topic, "reason": reason, "letters": letters, "sent": gone[topic, reason]}


def _example(chosen: Chosen) -> Json:
    place = f"{chosen.at.partition}:{chosen.offset}"
    at = utc_iso(chosen.written_at)
    return {
        "letter": chosen.id,
        "at": at,
        "place": place,
        "topic": chosen.topic,
        "uid": chosen.uid,
        "reason": chosen.reason,
    }


def as_text(report: Json) -> str:
    """A report as text."""
    dry = report["run"] is None
    lines = [f"{'would be sent' if dry else 'sent':>13}  {'topic':<20} reason"]
    for group in report["by"]:
        count = group["letters"] if dry else group["sent"]
        lines.append(f"{count:>13}  {group['topic']:<20} {group['reason']}")
    lines += [f"{count:>13}  skipped: {why}" for why, count in report["skipped"].items()]
    if report["repeated"]:
        lines.append(f"{report['repeated']:>13}  skipped: a later letter is about the same")
    return "\n".join([*lines, "", *(_examples(report) if dry else _totals(report))])


def _examples(report: Json) -> Iterator[str]:
    yield "For example:"
    for one in report["examples"]:
        yield f"  {one['at']}  {one['place']}  {one['letter']}  {one['uid'] or one['topic']}: {one['reason']}"


def _totals(report: Json) -> Iterator[str]:
    yield f"run {report['run']}: {report['sent']} of {report['letters']} letters sent again"
    requests, rabbitmq = report["requests"], report["rabbitmq"]
    if requests["sent"] and requests["waited"]:
        ends = ", ".join(f"{count} {how}" for how, count in requests["ends"].items())
        yield f"{requests['sent']} requests: {ends}"
    elif requests["sent"]:
        yield f"{requests['sent']} requests: --resume {report['run']} tells how they end"
    if any(rabbitmq.values()):
        yield f"{rabbitmq['ordered']} answers ordered for RabbitMQ again; the orders of {rabbitmq['gone']} are gone"
