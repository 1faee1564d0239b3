"""Settings: the defaults that people know, and a clear line for each value that is not allowed."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from weir.errors import SettingsError
from weir.settings import Settings, load_settings

DEFAULTS = {
    # the queue worker's
    "openai_url": "http://localhost:11434/v1",
    "openai_model": "deepseek-r1:8b",
    "log_level": "info",
    "restapi_port": 8080,
    "rabbitmq_queue": "chat_incoming",
    "response_queue_prefix": "response_",
    "response_queue_retries": 300,
}


def test_with_nothing_set_the_defaults_are_those_of_the_seeds() -> None:
    settings = load_settings({})
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    assert settings.openai_api_key.get_secret_value() == "dummy-token"
    assert settings.rabbitmq_url.get_secret_value().startswith("amqp://")
    assert not settings.on_kafka
    assert settings.embedded_path.is_absolute()


def test_every_default_is_a_value_that_may_be_given() -> None:
    """None stands for "not set"; paths of certificates would have to exist."""
    defaults = load_settings({})
    shown = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name in Settings.model_fields
        if (value := getattr(defaults, name)) is not None
    }
    assert load_settings(shown) == defaults


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_environment_is_read_by_upper_case_names_only() -> None:
    settings = load_settings({"OPENAI_MODEL": "gpt-5", "openai_model": "no", "PATH": "/bin", "RESTAPI_PORT": "9090"})
    assert (settings.openai_model, settings.restapi_port) == ("gpt-5", 9090)


def test_an_empty_variable_counts_as_unset() -> None:
    settings = load_settings({"OPENAI_URL": "", "KAFKA_BOOTSTRAP_SERVERS": "", "RESTAPI_PORT": ""})
    assert settings == load_settings({})


@pytest.mark.parametrize("given", ["debug", "DEBUG", "Info", "WARN", "error"])
def test_levels_may_be_written_in_any_case(given: str) -> None:
    assert load_settings({"LOG_LEVEL": given}).log_level == given.lower()


def test_urls_lose_their_last_slash_and_servers_their_spaces() -> None:
    settings = load_settings({"OPENAI_URL": "https://api/v1/", "KAFKA_BOOTSTRAP_SERVERS": "a:1, b:2 ,[::1]:3"})
    assert settings.openai_url == "https://api/v1"
    assert settings.kafka_bootstrap_servers == "a:1,b:2,[::1]:3"
    assert settings.on_kafka


@pytest.mark.parametrize("host", ["worker-1.weir_net", "10.0.0.7", "[::1]", "bücher.example"])
def test_a_worker_is_reached_by_a_name_or_an_address(host: str) -> None:
    assert load_settings({"RESTAPI_ADVERTISED_HOST": host}).restapi_advertised_host == host


BAD: dict[str, list[tuple[str, str]]] = {
    # variable: (given, part of what is allowed)
    "OPENAI_URL": [
        ("localhost:11434/v1", "http://"),
        ("ftp://x", "http"),
        ("http://", "host"),
        ("https:///v1", "host"),
        ("http://[::1/v1", "URL"),
        ("http://llm:99999/v1", "port"),
        ("http://llm:x/v1", "port"),
        ("http://llm:0/v1", "port"),
    ],
    "UPSTREAM_CONNECT_TIMEOUT_S": [("0", "greater than 0"), ("-1", "greater"), ("soon", "number"), ("1e9", "less")],
    "UPSTREAM_FIRST_TOKEN_TIMEOUT_S": [("nan", "a finite number"), ("inf", "a finite number")],
    "UPSTREAM_IDLE_TIMEOUT_S": [("5s", "number")],
    "UPSTREAM_RETRIES": [("-1", "0"), ("11", "10"), ("1.5", "integer"), ("many", "integer")],
    "LOG_LEVEL": [("loud", "'debug', 'info', 'warn' or 'error'"), ("warning", "'warn'")],
    "RESTAPI_PORT": [("0", "1"), ("65536", "65535"), ("http", "integer"), ("80 80", "integer")],
    "RESTAPI_ADVERTISED_HOST": [("::1", "brackets"), ("worker-1:8080", "without a port"), ("a b", "a host name")],
    "REQUEST_MAX_BYTES": [("1", "1024"), ("1e3", "integer"), ("99999999999", "67108864")],
    "DEFAULT_TENANT": [("a b", "pattern"), ("ü", "pattern"), ("x" * 65, "pattern")],
    "ACCEPT_TIMEOUT_S": [("0", "greater")],
    "SSE_HEARTBEAT_S": [("0", "greater")],
    "SSE_HEADER_WAIT_S": [("x", "number")],
    "CLIENT_WRITE_TIMEOUT_S": [("-5", "greater")],
    "ANSWER_TIMEOUT_S": [("0", "greater")],
    "MODELS_CACHE_S": [("0", "greater")],
    "MAX_IN_FLIGHT": [("0", "1"), ("10001", "10000")],
    "DRAIN_S": [("-1", "0"), ("3601", "3600"), ("nan", "a finite number")],
    "LEASE_S": [("0", "greater")],
    "ATTEMPTS_MAX": [("0", "1"), ("101", "100")],
    "TABLE_STORE": [("redis", "'memory' or 'rocksdb'")],
    "SQLITE_SYNCHRONOUS": [("OFF", "'NORMAL' or 'FULL'")],
    "TABLE_EXPIRY_S": [("59", "60")],
    "KAFKA_BOOTSTRAP_SERVERS": [
        ("kafka", "host:port"),
        ("kafka:", "host:port"),
        (":9092", "host:port"),
        ("a:1,,b:2", "host:port"),
        ("kafka:x", "host:port"),
        ("kafka:0", "host:port"),
        ("kafka:65536", "host:port"),
        ("kafka:\u00b2", "host:port"),
        (" ", "host:port"),
    ],
    "KAFKA_SECURITY_PROTOCOL": [("TLS", "'PLAINTEXT', 'SSL'")],
    "KAFKA_SASL_MECHANISM": [("GSSAPI", "'PLAIN'")],
    "KAFKA_SASL_USERNAME": [("weir\n", "without a line break")],
    "KAFKA_CONSUMER_GROUP": [("a/b", "pattern")],
    "KAFKA_REPLICATION_FACTOR": [("0", "1"), ("11", "10")],
    "KAFKA_SESSION_TIMEOUT_S": [("0", "greater")],
    "KAFKA_MAX_MESSAGE_BYTES": [("10", "1024"), ("2048", "REQUEST_MAX_BYTES")],
    "KAFKA_SSL_CAFILE": [("/no/such/file", "a regular file that exists")],
    "KAFKA_SSL_CERTFILE": [("/no/such/file", "a regular file that exists")],
    "KAFKA_SSL_KEYFILE": [("/no/such/file", "a regular file that exists")],
    "RABBITMQ_PREFETCH": [("0", "1"), ("1001", "1000")],
    "RABBITMQ_TIMEOUT_S": [("0", "greater")],
    "RESPONSE_QUEUE_PREFIX": [("p" * 101, "100")],
    "RESPONSE_QUEUE_RETRIES": [("-1", "0")],
    "RESPONSE_QUEUE_EXPIRES_S": [("0", "greater")],
    "RESPONSE_THINKING": [("some", "'omit' or 'inline'")],
}


@pytest.mark.parametrize(
    ("variable", "given", "allowed"),
    [(variable, given, allowed) for variable, cases in BAD.items() for given, allowed in cases],
)
def test_a_bad_value_is_one_line_with_its_name_the_value_and_what_is_allowed(
    variable: str, given: str, allowed: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: given, "OPENAI_API_KEY": "sk-secret-1"})
    line = str(caught.value)
    assert line.startswith(f"{variable} is ")
    assert (repr(given) in line) or (f"is {given};" in line)
    assert allowed in line.partition("allowed: ")[2]
    assert "\n" not in line
    assert "sk-secret" not in line


SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "PLAIN",
    "KAFKA_SASL_USERNAME": "ada",
    "KAFKA_SASL_PASSWORD": "hunter2-secret",
}


@pytest.mark.parametrize("missing", ["KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"])
@pytest.mark.parametrize("protocol", ["SASL_SSL", "sasl_plaintext"])
def test_sasl_needs_its_parts_and_names_the_one_that_is_missing(missing: str, protocol: str) -> None:
    environ = {k: v for k, v in SASL.items() if k != missing} | {"KAFKA_SECURITY_PROTOCOL": protocol}
    with pytest.raises(SettingsError, match=f"^{missing} is not set") as caught:
        load_settings(environ)
    assert "hunter2" not in str(caught.value)
    assert load_settings({**environ, missing: SASL[missing]}).kafka_sasl_username == "ada"


def test_certificates_that_exist_are_taken(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    pem.write_text("x")
    assert load_settings({"KAFKA_SSL_CAFILE": str(pem)}).kafka_ssl_cafile == pem


@pytest.mark.parametrize("url", ["localhost:5672", "http://a/", "amqp://", "amqp://a:0/", "amqp://a:x/", "amqp://a/,b"])
def test_a_bad_address_of_rabbitmq_is_not_shown_for_it_may_hold_a_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^RABBITMQ_URL is \(hidden\); allowed: amqp://user:password@host"):
        load_settings({"RABBITMQ_URL": url})


def test_rabbitmq_is_on_by_default_and_off_where_it_is_set_to_nothing() -> None:
    assert load_settings({}).amqp_urls == ["amqp://guest:guest@localhost:5672/"]
    assert load_settings({"RABBITMQ_URL": ""}).amqp_urls == []


def test_rabbitmq_may_have_several_addresses() -> None:
    urls = load_settings({"RABBITMQ_URL": "amqp://a:1/v, amqps://u:p@b/?cafile=ca.pem"}).amqp_urls
    assert urls == ["amqp://a:1/v", "amqps://u:p@b/?cafile=ca.pem"]


def test_secrets_are_never_shown() -> None:
    secrets = {
        "OPENAI_API_KEY": "sk-secret-1",
        "RABBITMQ_URL": "amqp://ada:secret-2@host/",
        "KAFKA_SASL_PASSWORD": "secret-3",
    }
    settings = load_settings(secrets)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert "secret-" not in shown
    assert settings.openai_api_key.get_secret_value() == "sk-secret-1"
    assert settings.kafka_sasl_password is not None
    assert settings.kafka_sasl_password.get_secret_value() == "secret-3"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings({}).restapi_port = 1  # type: ignore[misc]  # that is the point


FLOATS = sorted(name.upper() for name, field in Settings.model_fields.items() if "float" in repr(field))


@pytest.mark.parametrize("given", ["inf", "-inf", "nan", "Infinity", "1e999"])
@pytest.mark.parametrize("variable", FLOATS)
def test_no_number_is_infinite_or_none(variable: str, given: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is ") as caught:
        load_settings({variable: given})
    assert "\n" not in str(caught.value)


def test_all_times_are_among_those_numbers() -> None:
    assert {"LEASE_S", "DRAIN_S", "RETENTION_REQUESTS_S", "INSIGHT_COST_MAX_USD", "HTTP_BODY_TIMEOUT_S"} <= set(FLOATS)


SECRET = "sk-hush"


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "KAFKA_SASL_PASSWORD"])
@pytest.mark.parametrize("given", ["{}\n", "{}\r\n", "\n{}", "a\r{}", "{}\x00", "\t{}"])
def test_a_key_with_a_line_break_is_refused_and_not_shown(variable: str, given: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{variable} is \(hidden\); allowed: a value without") as caught:
        load_settings({variable: given.format(SECRET)})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"ftp://ada:{SECRET}@llm/v1", "'ftp://(hidden)@llm/v1'"),
        (f"ada:{SECRET}@llm/v1", "'(hidden)@llm/v1'"),
        (f"http://ada:{SECRET}/@x@llm:99999/v1", "'http://(hidden)@llm:99999/v1'"),
    ],
)
def test_a_login_in_a_url_is_not_shown(given: str, shown: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"OPENAI_URL": given})
    assert str(caught.value).startswith(f"OPENAI_URL is {shown}; allowed: ")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("variable", ["PRICES_FILE", "KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"])
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device"])
def test_a_file_is_a_regular_one(variable: str, kind: str, tmp_path: Path) -> None:
    """A read of a pipe would wait for ever."""
    path = {"device": Path("/dev/null")}.get(kind, tmp_path / kind)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(SettingsError, match=rf"^{variable} is '.*'; allowed: a regular file that exists"):
        load_settings({variable: str(path)})


@pytest.mark.parametrize("given", ["", "team-a.", "A_b-c.9", "x" * 60])
def test_a_prefix_begins_names_of_topics_and_of_the_group_on_kafka_only(given: str) -> None:
    on_kafka = load_settings({"KAFKA_TOPIC_PREFIX": given, "KAFKA_BOOTSTRAP_SERVERS": "k:1"})
    assert (on_kafka.topic_prefix, on_kafka.group) == (given, f"{given}weir")
    embedded = load_settings({"KAFKA_TOPIC_PREFIX": given})
    assert (embedded.topic_prefix, embedded.group) == ("", "weir")


@pytest.mark.parametrize(
    ("variable", "given"),
    [
        ("KAFKA_TOPIC_PREFIX", "a/b"),
        ("KAFKA_TOPIC_PREFIX", "ä"),
        ("KAFKA_TOPIC_PREFIX", "x" * 61),
        ("CHAT_PARTITIONS", "0"),
        ("CHAT_PARTITIONS", "1001"),
        ("CHAT_PARTITIONS", "six"),
        ("RETENTION_AUDIT_S", "60"),
        ("HTTP_CONNECTIONS_MAX", "0"),
    ],
)
def test_what_an_installation_has_of_its_own_has_bounds(variable: str, given: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is "):
        load_settings({variable: given})


def test_requests_are_kept_for_longer_than_their_clients_wait() -> None:
    with pytest.raises(SettingsError, match=r"^RETENTION_REQUESTS_S is 3600; allowed: more than ANSWER_TIMEOUT_S"):
        load_settings({"RETENTION_REQUESTS_S": "3600"})
    assert load_settings({"RETENTION_REQUESTS_S": "3600", "ANSWER_TIMEOUT_S": "600"}).retention_requests_s == 3600
