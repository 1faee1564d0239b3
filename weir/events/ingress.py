"""The doors by which a request comes in, by name: events, marks of requests and metrics name them alike."""

from enum import StrEnum


class Ingress(StrEnum):
    """The door a request came through."""

    HTTP = "http"
    RABBITMQ = "rabbitmq"
    KAFKA = "kafka"
    REPLAY = "replay"  # no door: taken out of the topic, and asked again
    CLI = "cli"  # of commands: no request comes through it
