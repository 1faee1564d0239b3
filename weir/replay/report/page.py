"""Renders a report as one self-contained HTML page: it opens from a disk, without a network, and loads nothing.

Text from the data is never markup: Python escapes it, and the script only sets text. Should that ever fail, the page's
policy still forbids every script and style but its own two, which it identifies by their hashes.
"""

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

import orjson

from weir.replay.report import charts, figures
from weir.replay.report.comparison import AnswerOutcome, Compared
from weir.replay.report.figures import figure, share
from weir.replay.report.judging import COMPLETED, UNCLEAR, JudgedMeasure
from weir.replay.report.report import ReplayReport

_HERE: Final = Path(__file__).parent
_TEMPLATE: Final = Template((_HERE / "page.html").read_text(encoding="utf-8"))
_STYLE: Final = (_HERE / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_HERE / "page.js").read_text(encoding="utf-8")

_GOOD: Final = {"faster", "cheaper", "fewer errors"}
_BAD: Final = {"slower", "dearer", "more errors"}  # longer and shorter answers may be either
# In a script `</script>` would end it, and `<!--` would hide it.
_UNSAFE: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def page(report: ReplayReport) -> str:
    """The page, as UTF-8 text. It holds the texts of answers if the pairs hold them."""
    facts = report.facts
    return _TEMPLATE.substitute(
        policy=_policy(),
        title=escape(f"Replay {facts.run_id}"),
        style=_STYLE,
        status=escape(facts.status),
        state={"completed": "good", "interrupted": "bad"}.get(facts.status, "other"),
        models=escape(figures.models(report)),
        lead=escape(f"{len(report.requests):,} of {facts.selected:,} requests replayed and compared"),
        facts=_facts(report),
        cards="".join([*map(_card, report.judged), _errors_card(report), _similarity_card(report)]),
        charts=_charts(report),
        totals=_totals(report),
        data=_data(report),
        script=_SCRIPT,
    )


def _policy() -> str:
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (_STYLE, _SCRIPT))
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _facts(report: ReplayReport) -> str:
    facts = report.facts
    shown = {
        "Run": facts.run_id,
        "Requests of": figures.span(report),
        "Replayed": figures.replayed(report),
        "Model asked for": facts.model or "each request's own",
        **{name: _plain(value) for name, value in facts.parameters.items() if value is not None},
    }
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in shown.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


# -- cards


def _card(each: JudgedMeasure) -> str:
    unit = each.measure.unit
    return _frame(
        f"{each.measure.title}, total" if each.measure.total else each.measure.title,
        each.verdict,
        _values(figure(each.original, unit), figure(each.replay, unit), figures.change(each.ratio))
        + charts.interval_bar(each),
        f"median difference {figures.signed(each.difference, unit)} of {each.pairs:,} pairs",
        f"95 %: {figures.interval(each)}",
    )


def _errors_card(report: ReplayReport) -> str:
    errors = report.errors
    then, now = (share(failed / errors.pairs if errors.pairs else None) for failed in (errors.original, errors.replay))
    return _frame(
        "errors",
        errors.verdict,
        _values(then, now),
        f"failed only before: {errors.only_original:,}, only now: {errors.only_replay:,}, of {errors.pairs:,} pairs",
        figures.probability(errors),
    )


def _similarity_card(report: ReplayReport) -> str:
    alike = report.likenesses
    identical = share(alike.identical / alike.pairs if alike.pairs else None)
    return _frame(
        "similarity, mean",
        figures.likeness(alike.mean),
        f'<p class="values">{escape(identical)} of the texts are identical</p>',
        f"one in ten is below {figures.likeness(alike.p10)}, of {alike.pairs:,} pairs",
    )


def _values(then: str, now: str, change: str = "") -> str:
    return (
        f'<p class="values">{escape(then)} → <strong>{escape(now)}</strong> '
        f'<span class="change">{escape(change)}</span></p>'
    )


def _frame(title: str, verdict: str, markup: str, *remarks: str) -> str:
    """A card around ``markup``, which is HTML."""
    kind = "good" if verdict in _GOOD else "bad" if verdict in _BAD else "same" if verdict == UNCLEAR else "other"
    lines = "".join(f"<span>{escape(remark)}</span>" for remark in remarks)
    return (
        f'<article class="card {kind}"><h3>{escape(title)}</h3><p class="verdict">{escape(verdict)}</p>'
        f'{markup}<p class="remark">{lines}</p></article>'
    )


# -- charts and totals


def _charts(report: ReplayReport) -> str:
    points = len(charts.latencies(report))
    drawn = f" One of {charts.one_of(points)} is drawn." if points > charts.POINTS_MAX else ""
    return "".join(
        f"<figure><figcaption><b>{title}</b> {caption}</figcaption>{picture}</figure>"
        for title, caption, picture in (
            (
                "How alike the answers are",
                "Pairs by the similarity of their texts.",
                charts.similarity_histogram(report),
            ),
            (
                "How long they took",
                f"A point below the line is a replay that was faster.{drawn}",
                charts.latency_scatter(report),
            ),
            ("How they ended", "Pairs by the status of the original and of its replay.", _matrix(report)),
        )
    )


def _matrix(report: ReplayReport) -> str:
    statuses = figures.statuses(report)
    head = "".join(f'<th scope="col">{escape(status)}</th>' for status in statuses)
    lines = []
    for then in statuses:
        cells = "".join(_matrix_cell(report.statuses.get((then, now), 0), then, now) for now in statuses)
        lines.append(f'<tr><th scope="row">{escape(then)}</th>{cells}</tr>')
    corner = "<th><span>original ↓</span> <span>replay →</span></th>"
    return f'<table class="matrix"><thead><tr>{corner}{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _matrix_cell(pairs: int, then: str, now: str) -> str:
    kind = "none"
    if pairs and COMPLETED in (then, now):
        kind = "same" if then == now else "bad" if then == COMPLETED else "good"
    return f'<td class="{kind}">{pairs:,}</td>'


def _totals(report: ReplayReport) -> str:
    lines = "".join(
        f'<tr><th scope="row">{escape(row.title)}</th><td>{escape(row.original)}</td><td>{escape(row.replay)}</td>'
        f'<td class="remark">{escape(row.remark)}</td></tr>'
        for row in figures.totals(report)
    )
    head = '<th></th><th scope="col">Original</th><th scope="col">Replay</th><th></th>'
    return f'<table class="totals"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'


# -- data


def _data(report: ReplayReport) -> str:
    """The rows for the script, as arrays, which are half as long as objects; in the order of page.js."""
    return orjson.dumps([_row(each) for each in report.requests]).decode().translate(_UNSAFE)


def _row(each: Compared) -> list[Any]:
    texts = [each.original_text, each.replay_text]
    both = [_outcome(each.original), _outcome(each.replay)]
    return [each.replay_of, each.uid, each.tenant, *both, each.similarity, each.identical, *texts]


def _outcome(outcome: AnswerOutcome) -> list[Any]:
    return [
        outcome.model,
        outcome.status,
        outcome.finish_reason,
        outcome.error_code,
        outcome.attempts,
        outcome.latency_ms,
        outcome.ttft_ms,
        outcome.input_tokens,
        outcome.output_tokens,
        outcome.cost_usd,
        outcome.chars,
    ]
