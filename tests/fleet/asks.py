"""The requests of clients, with their doors."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from demo.text import expected_content


class Door(StrEnum):
    """The door through which a request comes in."""

    STREAM = "HTTP stream"
    WHOLE = "HTTP JSON"
    KAFKA = "Kafka"
    RABBITMQ = "RabbitMQ"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request of one client."""

    name: str  # its uid, if it brings one
    door: Door
    named: bool  # it brings a uid
    at_s: float  # since the load began
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The key under which the LLM counts its calls."""
        return str(self.body["messages"][0]["content"])

    @cached_property
    def expected(self) -> str:
        """The text of the expected answer."""
        return expected_content(self.body)
