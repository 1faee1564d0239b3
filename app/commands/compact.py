"""``faust -A app compact``: makes the embedded log's file as small as its content."""

import asyncio
from pathlib import Path

from faust.cli import AppCommand
from faust.exceptions import ImproperlyConfigured

from app import app
from weir.log.embedded.file import LogFile
from weir.log.embedded.upkeep import Upkeep, vacuum
from weir.log.embedded.worker_lock import WorkerLock
from weir.log.log import LogError

MIB = 1024 * 1024


@app.command(name="compact")
async def compact(self: AppCommand) -> None:
    """Remove expired records from the embedded log and give their space back to the disk; no worker may run."""
    if app.settings.on_kafka:
        raise SystemExit("weir: nothing to compact: KAFKA_BOOTSTRAP_SERVERS is set, and Kafka does it by itself")
    path = app.settings.embedded_path
    if not path.is_file():
        raise SystemExit(f"weir: there is no embedded log at {path}; WEIR_DATA_DIR names its folder")
    try:
        before, after = await shrink(path)
    except (ImproperlyConfigured, LogError) as error:
        raise SystemExit(f"weir: {error}") from None
    self.say(f"{path}: {before / MIB:.1f} MiB before, {after / MIB:.1f} MiB now")


async def shrink(path: Path) -> tuple[int, int]:
    """Apply retention and compaction, then rewrite the file without its free space.

    Returns:
        The file's size in bytes before and after.

    Raises:
        ImproperlyConfigured: a worker is using the log.
        LogError: another process is using the log, the file is not a log of Weir, or the disk is full.
    """
    before = (await asyncio.to_thread(path.stat)).st_size
    lock = WorkerLock(path)
    lock.acquire()
    try:
        file = await asyncio.to_thread(LogFile.open, path, "FULL")
        try:
            # No reader is close to the end now, and a clean sweep is worth its time.
            await Upkeep(file, lag_s=0.0, min_dirty=1).sweep()
        finally:
            await asyncio.to_thread(file.close)
        _, after = await asyncio.to_thread(vacuum, path)
    finally:
        lock.release()
    return before, after
