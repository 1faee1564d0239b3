"""Run a command with a real Kafka and a real RabbitMQ beside it.

    python -m tests.services -- COMMAND ARGS…   runs COMMAND with their addresses in its environment
    python -m tests.services                    prints the addresses and waits to be interrupted

The addresses are `WEIR_TEST_KAFKA` (bootstrap servers) and `WEIR_TEST_RABBITMQ` (an AMQP URL). An address that is
already in the environment is used, and its service is never stopped. Services started here are always stopped: when
COMMAND ends, on SIGINT, SIGTERM and SIGHUP, and, by the kernel, when this process itself is killed (only its temporary
folders remain then).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from tests.services import KAFKA_VARIABLE, RABBITMQ_VARIABLE
from tests.services.kafka import KafkaBroker
from tests.services.process import Broker, ServiceError, end, launch, say
from tests.services.rabbitmq import RabbitBroker

VARIABLES = (KAFKA_VARIABLE, RABBITMQ_VARIABLE)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COMMAND_GRACE_S = 10.0
COMPOSE_FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"


class Interrupted(BaseException):
    """A signal asks this process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def main(arguments: Sequence[str]) -> int:
    """Run the program; returns the exit code of the command, or 128 + signal number as shells do."""
    if arguments and (arguments[0] != "--" or len(arguments) == 1):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup and the like stay in force
            signal.signal(signum, interrupt)
    try:
        with ExitStack() as stack:
            addresses = provide(os.environ, stack)
            return run(arguments[1:], addresses) if arguments else wait(addresses)
    except Interrupted as interruption:
        return 128 + interruption.signum
    except ServiceError as error:
        say(str(error))
        return 1


def interrupt(signum: int, _frame: FrameType | None) -> None:
    """End in order, once: a second Ctrl-C must not interrupt the clean-up."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(signum)


def provide(environment: Mapping[str, str], stack: ExitStack) -> dict[str, str]:
    """The address of each service by variable; `stack` stops the services that were started."""
    addresses = {name: environment[name] for name in VARIABLES if environment.get(name)}
    for name, address in addresses.items():
        say(f"{name} is set, using {address.rpartition('@')[2]} as it is")
    missing = [name for name in VARIABLES if name not in addresses]
    if missing and compose_works():
        return addresses | start_with_compose(missing, stack)
    brokers: dict[str, KafkaBroker | RabbitBroker] = {}
    if KAFKA_VARIABLE in missing:
        brokers[KAFKA_VARIABLE] = stack.enter_context(contextlib.closing(KafkaBroker()))
    if RABBITMQ_VARIABLE in missing:
        brokers[RABBITMQ_VARIABLE] = stack.enter_context(contextlib.closing(RabbitBroker()))
    start_all(list(brokers.values()))
    return addresses | {
        name: broker.bootstrap if isinstance(broker, KafkaBroker) else broker.url for name, broker in brokers.items()
    }


def start_all(brokers: Sequence[Broker]) -> None:
    """Start brokers side by side; if one fails, or a signal comes, all are stopped."""
    with ThreadPoolExecutor(max_workers=max(1, len(brokers))) as pool:
        try:
            for started in as_completed([pool.submit(broker.start) for broker in brokers]):
                started.result()
        except BaseException:
            # Leaving the pool waits for the threads; a closed broker ends the wait of its own.
            for broker in brokers:
                broker.close()
            raise


def run(command: Sequence[str], addresses: Mapping[str, str]) -> int:
    """Run `command` in the same terminal session, so that it can ask and be asked (pdb, Ctrl-C)."""
    process = launch(command, env={**os.environ, **addresses}, own_session=False)
    try:
        code = process.wait()
    except Interrupted as interruption:
        # A Ctrl-C has reached the command by itself; a second one would cut its cleaning up short.
        if interruption.signum != signal.SIGINT:
            process.send_signal(interruption.signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(COMMAND_GRACE_S)
        end(process, COMMAND_GRACE_S)
        raise
    return code if code >= 0 else 128 - code


def wait(addresses: Mapping[str, str]) -> int:
    """Print the addresses for a shell's eval and wait for a signal, which raises `Interrupted`."""
    for name, address in addresses.items():
        sys.stdout.write(f"export {name}={address}\n")
    sys.stdout.flush()
    while True:
        signal.pause()


def compose_works() -> bool:
    """Whether Docker Compose and a running engine are here, and there is a file to compose."""
    if not COMPOSE_FILE.exists() or shutil.which("docker") is None:
        return False
    checks = (["docker", "compose", "version"], ["docker", "info"])
    return all(subprocess.run(check, capture_output=True, check=False).returncode == 0 for check in checks)


def start_with_compose(missing: Sequence[str], stack: ExitStack) -> dict[str, str]:
    """The services of docker-compose.yml on their published ports; those that ran already are left running."""
    compose = ["docker", "compose", "-f", str(COMPOSE_FILE)]
    services = {
        KAFKA_VARIABLE: ("kafka", "127.0.0.1:9092"),
        RABBITMQ_VARIABLE: ("rabbitmq", "amqp://guest:guest@127.0.0.1:5672/"),
    }
    wanted = [services[name][0] for name in missing]
    listing = [*compose, "ps", "--services", "--status", "running"]
    running = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.split()
    if ours := [service for service in wanted if service not in running]:
        stack.callback(subprocess.run, [*compose, "stop", *ours], check=False, stdout=sys.stderr)
    say(f"starting {' and '.join(wanted)} with docker compose …")
    if subprocess.run([*compose, "up", "-d", "--wait", *wanted], check=False, stdout=sys.stderr).returncode:
        raise ServiceError("docker compose could not start them; see above")
    return {name: services[name][1] for name in missing}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
