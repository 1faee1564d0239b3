"""The names of the doors through which requests come in; events, marks of requests and metrics use the same names."""

from enum import StrEnum


class Ingress(StrEnum):
    """The door through which a request came in."""

    HTTP = "http"
    RABBITMQ = "rabbitmq"
    KAFKA = "kafka"
    REPLAY = "replay"  # no door: a request taken from the topic, and asked again
    CLI = "cli"  # the actor of commands: no request comes in through it
