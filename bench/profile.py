"""Records a worker under load with py-spy, in one cell that does not count."""

import shutil
import subprocess
from pathlib import Path

from bench.targets import Field, Target
from bench.workloads import Workload, measure

SECONDS = 8.0
WARMUP_S = 1.0
RATE_HZ = 200


def record(workload: Workload, target: Target, field: Field, folder: Path) -> str:
    """Record the target's worker; returns one line with the file, or the reason why there is none."""
    spy, pid = shutil.which("py-spy"), target.pids.get("worker", target.pids.get("proxy"))
    if spy is None or pid is None:
        return "py-spy is not on PATH" if spy is None else "there is no worker to record"
    folder.mkdir(exist_ok=True)
    path = folder / f"{workload.key}-{target.key}.speedscope.json"
    options = ["--format", "speedscope", "--rate", str(RATE_HZ), "--duration", str(int(SECONDS)), "--output", str(path)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([spy, "record", "--pid", str(pid), *options], stdout=quiet, stderr=quiet) as recording:
        measure(workload, target, field, number=0, seconds=SECONDS, warmup_s=WARMUP_S)
        recording.wait()
    return f"{path} (open it in https://www.speedscope.app)"
