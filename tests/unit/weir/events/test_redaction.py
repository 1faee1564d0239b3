"""The parts of a text that are removed and those that stay; and no text takes long."""

import time

import pytest

from weir.errors import SettingsError
from weir.events.redaction import HIDDEN, Redactor, without_credentials
from weir.options import Redact
from weir.settings import load_settings

LIMIT = 1000


def redacted(text: str, limit: int) -> str:
    return Redactor(limit)(text)


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop1234567890",
        "sk_live_51HxyzABCDEFGHIJKLMN",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "github_pat_11ABCDEFG0123456789_abcdefghijklmnop",
        "xoxb-123456789012-abcdefghijklmnop",
        "hf_abcdefghijklmnopqrstuvwxyz",
        "github_pat_22ABCDEFG0123456789_abcdefghijklmnop",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "378282246310005",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # of AWS's own documentation
        "ASIAIOSFODNN7EXAMPLE",
        "kJ3f9Qx0ZpL7vB2nT8yWcR5sH1dG6aMeUoX4iKjq",
        "DE89 3704 0044 0532 0130 00",
        "DE89370400440532013000",
        "GB29 NWBK 6016 1331 9268 19",
        "fr14 2004 1010 0505 0001 3m02 606",
        "NO93 8601 1117 947",
        "MT84MALT011000012345MTLCAST001S",
        "078-05-1120",
        "219 09 9999",
        "ada.lovelace+weir@mail.example.co.uk",
        "o'neil_42@example.com",
        "grüße@example.org",
    ],
)
def test_a_secret_does_not_stay(secret: str) -> None:
    told = redacted(f"before {secret} after", LIMIT)
    assert secret not in told
    assert told == f"before {HIDDEN} after"


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Bearer abcdefghijklmnop.qrstuv", "abcdefghijklmnop.qrstuv"),
        ("postgres://ada:hunter2@db/sales", "hunter2"),
        ('{"password": "hunter2!", "user": "ada"}', "hunter2"),
        ("api_key=0123456789", "0123456789"),
        ('{\\"password\\": \\"hunter2!\\"}', "hunter2"),
        ("auth_token=abcdef012345", "abcdef012345"),
        ("Authorization: Basic YWRhOmh1bnRlcjI=", "YWRhOmh1bnRlcjI"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE that is cut off", "MIIE"),
    ],
)
def test_what_stands_beside_a_word_for_a_secret_does_not_stay(text: str, gone: str) -> None:
    told = redacted(text, LIMIT)
    assert gone not in told
    assert HIDDEN in told


@pytest.mark.parametrize(
    "text",
    [
        "The task-force-of-the-century-begins",
        "Order 4111 1111 1111 1112 is none",  # its check digit is wrong
        "uid 1234567890123-4567",
        "SELECT password_hash FROM users WHERE id = 12345",
        "http://localhost:8080/a@b",
        "2026-01-01T00:00:00.000000Z",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",  # a SHA-1 in hex
        "usr/local/lib/Python3/site/packages/weir1",
        "see AAAAAAAAAAAAAAAAAAAAaaaaaaaaaaaaaaaaaaa1",  # 40 characters, but not at random
        "DE89 3704 0044 0532 0130 02",  # its check digits are wrong
        "DE89 3704 0044 0532 0130 00x",
        "XX89 3704 0044 0532 0130 00",
        "000-12-3456 and 666-12-3456 and 912-34-5678 and 123-00-4567 and 123-45-0000",
        "123-45 6789, 1234-56-7890, 2026-11-30",
        "@ada, ada@home, a@b.c and SELECT @@version",
        "1 2 3 4 5 6 7 8 9",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text, LIMIT) == text


def test_only_the_account_goes_out_of_a_sentence() -> None:
    text = "Pay 5 EUR to DE89 3704 0044 0532 0130 00 please, or to ab12 GB29NWBK60161331926819."
    assert redacted(text, LIMIT) == f"Pay 5 EUR to {HIDDEN} please, or to ab12 {HIDDEN}."


@pytest.mark.parametrize("text", ["my SSN: 078051120", "Social Security Number 078051120"])
def test_nine_digits_are_a_number_of_social_security_beside_its_name(text: str) -> None:
    assert "078051120" not in redacted(text, LIMIT)
    assert redacted("order 078051120", LIMIT) == "order 078051120"


def test_an_error_tells_no_more_of_the_request_in_its_members_than_in_its_message() -> None:
    """FastAPI repeats the field that it refuses; OpenRouter hands on the whole answer of another server."""
    names = {"type": "t", "param": "messages[0]", "code": "c", "status": 422, "headers": {"retry-after": "1"}}
    detail = [{"loc": ["body", "messages", 0], "input": "my secret plan"}]
    error = {**names, "message": "my secret plan", "detail": detail, "metadata": {"raw": "my secret plan", "n": 7}}
    for limit, told in ((0, ""), (5, "my s…"), (LIMIT, "my secret plan")):
        assert Redactor(limit).error(error) == {
            **names,
            "message": told,
            "detail": [{"loc": [Redactor(limit)("body"), Redactor(limit)("messages"), 0], "input": told}],
            "metadata": {"raw": told, "n": 7},
        }
    assert Redactor(LIMIT).error({"message": "x", "detail": ["sk-proj-abcdefghijklmnop1234567890"]})["detail"] == [
        HIDDEN
    ]


SAMPLES = {
    Redact.KEYS: "sk-proj-abcdefghijklmnop1234567890",
    Redact.AWS: "AKIAIOSFODNN7EXAMPLE",
    Redact.CARDS: "4111 1111 1111 1111",
    Redact.IBAN: "DE89 3704 0044 0532 0130 00",
    Redact.SSN: "078-05-1120",
    Redact.EMAIL: "ada@example.com",
}


@pytest.mark.parametrize("kind", Redact)
def test_the_setting_lists_what_is_looked_for(kind: Redact) -> None:
    settings = load_settings({"REDACT": f" {kind.upper()} ,"})
    assert settings.redacted == {kind}
    told = Redactor(LIMIT, settings.redacted)(" | ".join(SAMPLES.values()))
    assert told == " | ".join(HIDDEN if each is kind else sample for each, sample in SAMPLES.items())


def test_everything_is_looked_for_unless_the_setting_says_otherwise() -> None:
    assert load_settings({}).redacted == frozenset(Redact)
    assert load_settings({"REDACT": "none"}).redacted == frozenset()
    text = " | ".join(SAMPLES.values())
    assert Redactor(LIMIT, frozenset())(text) == text
    with pytest.raises(SettingsError, match="REDACT is 'keys,cats'; allowed: none, or some of keys, aws"):
        load_settings({"REDACT": "keys,cats"})


def test_a_long_text_is_cut_and_no_text_is_kept_at_zero() -> None:
    assert redacted("x" * 50, 10) == "x" * 9 + "…"
    assert redacted("x" * 10, 10) == "x" * 10
    assert redacted("x", 0) == ""


def test_a_secret_across_the_cut_does_not_stay() -> None:
    told = redacted("x" * 90 + " sk-abcdefghijklmnopqrstuvwxyz", 100)
    assert "sk-a" not in told


def test_a_long_token_across_the_cut_does_not_stay() -> None:
    told = redacted("x " + "eyJhbGciOiJIUzI1NiJ9." + "a" * 5000 + ".sig", 200)
    assert "eyJ" not in told
    assert "aaa" not in told


def test_a_long_secret_that_is_taken_out_does_not_pull_half_of_another_one_in() -> None:
    key = "-----BEGIN PRIVATE KEY-----" + "M" * 800 + "-----END PRIVATE KEY----- "
    for pad in range(0, 600, 7):
        told = redacted(key + "x " * (pad // 2) + "sk-" + "Q" * 60 + " " + "y" * 2000, 500)
        assert "QQQ" not in told


MEGABYTE = 1 << 20
BAIT = (
    "0",
    "1 ",
    "4111 1111 1111 111",
    "4111-",
    "a",
    "@",
    "a@",
    "a@a.",
    "ada@example.",
    " ",
    "password",
    "password = ",
    "bearer ",
    "authorization: a ",
    "eyJ-",
    "eyJaaaaaaaa.",
    "ghp_",
    "sk-",
    "://a:",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "aB3/",
    "aB3/" * 10 + " ",
    "DE89 ",
    "DE89 3704 0044 ",
    "123-45-",
    "ssn 1",
    "\n",
    "é",
)


@pytest.mark.parametrize("bait", BAIT, ids=repr)
def test_a_text_that_is_twice_as_long_takes_twice_as_long(bait: str) -> None:
    redactor = Redactor(2 * MEGABYTE)

    def seconds(size: int) -> float:
        text, began = bait * (size // len(bait)), time.process_time()
        redactor(text)
        return time.process_time() - began

    def is_linear() -> bool:
        return seconds(MEGABYTE) < 3.2 * seconds(MEGABYTE // 2) + 0.02

    assert any(is_linear() for _ in range(4))  # others use this machine, too


def test_a_megabyte_costs_no_more_than_its_beginning() -> None:
    assert len(redacted("1 " * 500_000, LIMIT)) == LIMIT


def test_a_url_is_told_without_its_credentials() -> None:
    assert without_credentials("https://ada:hunter2@llm:8443/v1?key=x") == "https://llm:8443/v1"
    assert without_credentials("http://[::1]:11434/v1") == "http://[::1]:11434/v1"
