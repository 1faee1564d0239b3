"""Receives Faust's producer and consumer callbacks for the metrics, as a monitor in place of Faust's own."""

from typing import Any

from faust.sensors.monitor import Monitor
from faust.types import TP

from weir.telemetry.worker_metrics import Metrics


class FaustMonitor(Monitor):
    """Faust's monitor, which also counts."""

    def __init__(self, metrics: Metrics, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._metrics = metrics

    def track_tp_end_offset(self, tp: TP, offset: int) -> None:
        """Count a record that is handed on. Called also for changelogs, unlike `on_message_in`."""
        super().track_tp_end_offset(tp, offset)
        self._metrics.consumed(tp.topic)

    def on_send_initiated(self, producer: Any, topic: str, message: Any, keysize: int, valsize: int) -> Any:
        """Note that a record is sent; Faust passes the returned state to the callback of its end."""
        return topic, super().on_send_initiated(producer, topic, message, keysize, valsize)

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        """Observe the time of a record that is acknowledged."""
        topic, began = state
        super().on_send_completed(producer, began, metadata)
        self._metrics.appends(topic).observe(self.time() - began)

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        """Count a record that is not in the log, or not for certain."""
        topic, began = state
        super().on_send_error(producer, exc, began)
        self._metrics.produce_failed(topic)
