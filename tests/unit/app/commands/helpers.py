"""The parts of the application that commands use."""

from dataclasses import replace

from app import parts
from app.build import Parts
from tests.unit.weir.workers import worker_of
from weir.log.log import LogClient
from weir.settings import load_settings
from weir.worker import Worker


def worker_with(log: LogClient, **environ: str) -> Worker:
    return worker_of(log, settings=load_settings(environ))


def parts_of(worker: Worker) -> Parts:
    """The parts of the application, with another worker: commands call no other part."""
    return replace(parts, worker=worker)
