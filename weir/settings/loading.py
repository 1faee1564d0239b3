"""Reads settings from the environment: each value by itself, then the rules that span several."""

import re
from collections.abc import Mapping

from pydantic import ValidationError

from weir.errors import SettingsError
from weir.settings.settings import Settings

_LOGIN = re.compile(r"^([A-Za-z]+://)?.*@", re.DOTALL)  # of a URL: its user and password


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: a value is not allowed; the message is one line with the variable, the given and the allowed
            values.
    """
    # An empty variable counts as unset: that is how compose files and shells spell "no value".
    given = {name: environ[name.upper()] for name in Settings.model_fields if environ.get(name.upper())}
    if environ.get("RABBITMQ_URL") == "":  # its default can be turned off
        given["rabbitmq_url"] = ""
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(_one_line(error, given)) from None
    _check_together(settings)
    return settings


def _one_line(error: ValidationError, given: Mapping[str, str]) -> str:
    """The first wrong variable: its name, the given value (never a secret), the allowed ones."""
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0])
    secret = "SecretStr" in str(Settings.model_fields[field].annotation)
    value = "(hidden)" if secret else repr(_LOGIN.sub(r"\1(hidden)@", given[field]))
    allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable to")[0]
    return f"{field.upper()} is {value}; allowed: {allowed}"


def _check_together(settings: Settings) -> None:
    """Check the rules that span several settings; each message is one line that names the variable to mend."""
    if settings.kafka_security_protocol.startswith("SASL"):
        for name in ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password"):
            if not getattr(settings, name):
                raise SettingsError(
                    f"{name.upper()} is not set; KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol} needs it"
                )
    for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile", "prices_file"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():  # a pipe would be waited for
            raise SettingsError(f"{name.upper()} is {str(path)!r}; allowed: a regular file that exists")
    if settings.retention_requests_s <= settings.answer_timeout_s:
        raise SettingsError(
            f"RETENTION_REQUESTS_S is {settings.retention_requests_s:.15g}; allowed: more than "
            f"ANSWER_TIMEOUT_S ({settings.answer_timeout_s:.15g})"
        )
    if settings.kafka_max_message_bytes < settings.request_max_bytes:
        raise SettingsError(
            f"KAFKA_MAX_MESSAGE_BYTES is {settings.kafka_max_message_bytes}; allowed: at least "
            f"REQUEST_MAX_BYTES ({settings.request_max_bytes})"
        )
