"""Keeps and renders metrics: the layer between ``weir/telemetry/metrics.py`` and prometheus-client.

prometheus-client's own counters and histograms lock and check with each observation: 1.2 microseconds for one count and
one time together, which is as much as a record of tokens costs. Observations of each record are therefore kept in plain
numbers (`Latency`, or a dict that `Scraped` reads), which belong to the event loop, and made into samples at a scrape.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from weir.timing import in_turns

logger = logging.getLogger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call] # a second sample for each counter, an unused gauge in the classic format

_END = b"# EOF\n"  # of OpenMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The definition of a metric."""

    name: str  # as it is scraped
    kind: Literal["counter", "gauge", "histogram"]
    unit: str  # of its value
    help: str
    labels: tuple[str, ...] = ()  # each with few values, known beforehand or bounded
    buckets: tuple[float, ...] = ()  # upper bounds, of a histogram

    def counter(self, registry: CollectorRegistry) -> Counter:
        """A counter with this definition."""
        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """A gauge with this definition."""
        return Gauge(self.name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        """A histogram with this definition."""
        return Histogram(self.name, self.help, self.labels, registry=registry, buckets=self.buckets)


class Latency:
    """A histogram's numbers, in seconds."""

    __slots__ = ("_bounds", "counts", "total_s")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)  # by bucket, not cumulative
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Add one observation."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total_s += seconds


class Latencies(Collector):
    """A histogram with one label, of `Latency`."""

    def __init__(self, spec: Spec, registry: CollectorRegistry) -> None:
        self._spec = spec
        self._bounds = [*(str(bound) for bound in map(float, spec.buckets)), "+Inf"]
        self._by_label: dict[str, Latency] = {}
        registry.register(self)

    def of(self, label: str) -> Latency:
        """The numbers of one label value: keep the result instead of asking for each observation."""
        found = self._by_label.get(label)
        if found is None:
            found = self._by_label[label] = Latency(self._spec.buckets)
        return found

    def describe(self) -> Iterable[Metric]:
        """The metric's name, for the registry."""
        return [HistogramMetricFamily(self._spec.name, self._spec.help, labels=self._spec.labels)]

    def collect(self) -> Iterable[Metric]:
        """The metric's samples."""
        family = HistogramMetricFamily(self._spec.name, self._spec.help, labels=self._spec.labels)
        for label, latency in self._by_label.items():
            cumulative = accumulate(latency.counts)
            family.add_metric([label], list(zip(self._bounds, cumulative, strict=True)), latency.total_s)
        return [family]


Values = Mapping[tuple[str, ...], float]
"""Values by label values, in the order of the spec's labels."""


class Scraped(Collector):
    """A counter or gauge whose values are kept elsewhere, and read at each scrape."""

    def __init__(self, spec: Spec, read: Callable[[], Values], registry: CollectorRegistry) -> None:
        self._spec = spec
        self._read = read
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """The metric's name, for the registry."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """The metric's samples; none if reading them fails, so that the other metrics are scraped all the same."""
        family = self._family()
        try:
            for labels, value in self._read().items():
                family.add_metric(labels, value)
        except Exception:
            logger.exception("the values of %s cannot be read", self._spec.name)
        return [family]

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        family = CounterMetricFamily if self._spec.kind == "counter" else GaugeMetricFamily
        return family(self._spec.name, self._spec.help, labels=self._spec.labels)


class _One(CollectorRegistry):
    """A registry of one family, for the encoders."""

    def __init__(self, family: Metric) -> None:
        super().__init__()
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


async def rendered(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """All metrics as text, with the content type, in the format that the Accept header asks for.

    Family by family, so that tokens need not wait for all of it: with every label in use it takes 25 ms, of which the
    largest family is 5. In a thread, each time that the loop lets go of the interpreter's lock would cost it as much.
    """
    encode, content_type = choose_encoder(accept)
    parts, ends = [], b""
    async for family in in_turns(registry.collect()):
        text = encode(_One(family))
        if text.endswith(_END):
            text, ends = text.removesuffix(_END), _END
        parts.append(text)
    return b"".join([*parts, ends]), content_type
