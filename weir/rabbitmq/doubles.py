"""Floats in AMQP tables, exact: pamqp 4 writes 32 bits of each (type ``f``), so that 0.1 arrives as 0.10000000149.

RabbitMQ and all common clients read doubles (type ``d``) as well. pamqp can write them, but its tables never do.
"""

from pamqp import common, encode

_of_pamqp = encode.encode_table_value


def write_doubles() -> None:
    """Have pamqp write all floats of tables as doubles, from now on."""
    encode.encode_table_value = _value


def _value(value: common.FieldArray | common.FieldTable | common.FieldValue) -> bytes:
    return b"d" + encode.double(value) if isinstance(value, float) else _of_pamqp(value)
