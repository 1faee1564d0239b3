"""Sets up Faust and the log client for the broker that the settings choose: Kafka, or the embedded log."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import faust

from app.membership import Groups
from weir.errors import SettingsError
from weir.log.embedded.client import EmbeddedLog
from weir.log.kafka.client import KafkaLog
from weir.log.kafka.driver import ENGINE_SETTINGS, broker_url
from weir.log.kafka.security import KafkaSecurity
from weir.log.log import LogClient
from weir.settings import Settings


def log_client(settings: Settings) -> LogClient:
    """Return the log client outside the consumer group, on the broker that the settings choose."""
    if settings.kafka_bootstrap_servers is None:
        return EmbeddedLog(settings.embedded_path, synchronous=settings.sqlite_synchronous)
    return KafkaLog(
        settings.kafka_bootstrap_servers,
        security=_security(settings),
        client_id=settings.group,
        prefix=settings.topic_prefix,
        max_request_size=settings.kafka_max_message_bytes,
        delivery_timeout_s=settings.kafka_delivery_timeout_s,
    )


def consumer_groups(log: LogClient) -> Groups | None:
    """Return the client that knows the consumer groups; None for the embedded log, which has one worker."""
    return log if isinstance(log, KafkaLog) else None


@lru_cache(maxsize=1)
def _security(settings: Settings) -> KafkaSecurity:
    """Return the security of all clients of a worker: they share what one of them learns of its connections."""
    password = settings.kafka_sasl_password
    try:
        security = KafkaSecurity(
            security_protocol=settings.kafka_security_protocol,
            sasl_mechanism=settings.kafka_sasl_mechanism or "PLAIN",
            sasl_username=settings.kafka_sasl_username,
            sasl_password=password.get_secret_value() if password else None,
            tls_cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None,
            tls_certfile=str(settings.kafka_ssl_certfile) if settings.kafka_ssl_certfile else None,
            tls_keyfile=str(settings.kafka_ssl_keyfile) if settings.kafka_ssl_keyfile else None,
        )
        _ = security.ssl_context  # reads the files
    except ValueError as error:
        raise SettingsError(f"KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}: {error}") from None
    return security


def _broker(settings: Settings) -> dict[str, Any]:
    if settings.kafka_bootstrap_servers is None:
        return {
            "broker": f"sqlite://{settings.embedded_path}?sync={settings.sqlite_synchronous.lower()}",
            "topic_replication_factor": 1,
            "table_standby_replicas": 0,  # the embedded log has one worker: no other one could stand by
        }
    return {
        "broker": broker_url(settings.kafka_bootstrap_servers),
        "broker_credentials": _security(settings).broker_credentials(),
        "topic_replication_factor": settings.kafka_replication_factor,
        "table_standby_replicas": 1,  # the next owner of a partition already has its table
    }


def check_store(table_store: str) -> None:
    """Check that the settings' table store is installed.

    Raises:
        SettingsError: the package for it is not installed; the message names the remedy.
    """
    if table_store == "rocksdb" and not (find_spec("rocksdict") or find_spec("rocksdb")):
        raise SettingsError(
            "TABLE_STORE is 'rocksdb', and its package is not installed: `make install`; TABLE_STORE=memory needs none"
        )


def faust_settings(settings: Settings, *, worker: type[faust.Worker], modules: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of ``faust.App``, each with its reason where it differs from Faust's default."""
    check_store(settings.table_store)
    return {
        **ENGINE_SETTINGS,
        **_broker(settings),
        "autodiscover": list(modules),
        "datadir": str(settings.weir_data_dir / settings.group / str(settings.restapi_port)),
        "store": "rocksdb://" if settings.table_store == "rocksdb" else "memory://",
        "key_serializer": "raw",
        "value_serializer": "raw",
        "topic_partitions": settings.chat_partitions,
        "Worker": worker,
        "stream_buffer_maxsize": 128,
        "broker_commit_interval": 1.0,
        "broker_session_timeout": settings.kafka_session_timeout_s,
        "broker_heartbeat_interval": settings.kafka_session_timeout_s / 4,
        "broker_request_timeout": max(20.0, settings.kafka_session_timeout_s + 5.0),
        "consumer_max_fetch_size": settings.kafka_max_message_bytes,
        "producer_max_request_size": settings.kafka_max_message_bytes,
        "producer_linger": 0.0,
        # One name for all starts: a fresh one each time leaves a topic behind each time.
        "reply_to": f"{settings.group}-reply",
        "reply_create_topic": False,
        "web_host": settings.restapi_advertised_host,
        "web_port": settings.restapi_port,
        "canonical_url": f"http://{settings.restapi_advertised_host}:{settings.restapi_port}",
        "worker_redirect_stdouts": False,
    }
