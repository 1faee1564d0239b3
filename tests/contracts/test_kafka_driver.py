"""Promises of the Kafka driver alone: it is found by its scheme, and takes a bootstrap list."""

import faust
import pytest

from weir.log.kafka.driver import Consumer, Transport, broker_url
from weir.log.kafka.repairs import Producer


def test_the_url_scheme_finds_the_repaired_driver() -> None:
    transport = faust.App("found", broker=broker_url("127.0.0.1:1")).transport
    assert isinstance(transport, Transport)
    assert (transport.Consumer, transport.Producer) == (Consumer, Producer)


@pytest.mark.parametrize(
    ("servers", "url"),
    [
        ("a:9092", "kafka-atleastonce://a:9092"),
        ("a:9092, b:9093,", "kafka-atleastonce://a:9092;kafka-atleastonce://b:9093"),
    ],
)
def test_a_bootstrap_list_becomes_a_broker_url(servers: str, url: str) -> None:
    assert broker_url(servers) == url


def test_no_server_is_no_broker_url() -> None:
    with pytest.raises(ValueError, match="no Kafka server"):
        broker_url(" , ")
