"""Words that an operator or a client may choose from, where a setting and a part must agree on them."""

from enum import StrEnum


class ThinkTags(StrEnum):
    """How ``<think>`` tags at the start of an answer's text are handled."""

    SPLIT = "split"  # the text between the tags becomes `reasoning_content`
    KEEP = "keep"  # the tags stay in the text, for clients that take them apart themselves


class Redact(StrEnum):
    """The forms of secrets to remove. The value is the form's name in the setting REDACT."""

    KEYS = "keys"  # keys and tokens of known forms, passwords beside their names or in URLs, private keys, bearers
    AWS = "aws"  # access key ids and bare secret access keys of AWS
    IBAN = "iban"  # bank accounts with right check digits
    CARDS = "cards"  # numbers of payment cards with a right check digit
    SSN = "ssn"  # social security numbers of the United States
    EMAIL = "email"
