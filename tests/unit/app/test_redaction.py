import time

import pytest

from app.redaction import HIDDEN, redacted, without_credentials

LIMIT = 1000


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
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text, LIMIT) == text


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


def test_no_text_takes_long() -> None:
    began = time.process_time()
    for text in ("eyJ-" * 30_000, "eyJ-aaaaaaaaa." * 10_000, "1 " * 60_000, "ghp_" * 30_000, "password:" * 12_000):
        redacted(text, 100_000)
    assert time.process_time() - began < 20


def test_a_megabyte_costs_no_more_than_its_beginning() -> None:
    assert len(redacted("1 " * 500_000, LIMIT)) == LIMIT


def test_a_url_is_told_without_its_credentials() -> None:
    assert without_credentials("https://ada:hunter2@llm:8443/v1?key=x") == "https://llm:8443/v1"
    assert without_credentials("http://[::1]:11434/v1") == "http://[::1]:11434/v1"
