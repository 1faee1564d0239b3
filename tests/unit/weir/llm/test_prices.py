from pathlib import Path

import pytest

from weir.errors import SettingsError
from weir.llm.prices import Tokens, load_prices, tokens_of

TABLE = """
["small*"]
input = 1.0
cached_input = 0.5
output = 2.0

["*"]
input = 10
output = 20
"""


def test_the_first_pattern_that_fits_a_models_name_has_its_price(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(TABLE)
    prices = load_prices(path)
    tokens = Tokens(input=1_000_000, cached=400_000, output=100_000)
    assert prices.cost_usd("Small-2", tokens) == pytest.approx(0.6 + 0.2 + 0.2)
    assert prices.cost_usd("large", tokens) == pytest.approx(10 + 2)


def test_the_cost_is_unknown_without_a_price_or_without_counted_tokens() -> None:
    prices = load_prices(None)
    assert prices.cost_usd("llama3.2", Tokens(input=1, output=1)) is None
    assert prices.cost_usd("gpt-4o-mini", Tokens(input=1)) is None
    assert prices.cost_usd("gpt-4o-mini-2024-07-18", Tokens(input=1_000_000, output=0)) == pytest.approx(0.15)
    assert prices.cost_usd("gpt-4o", Tokens(input=1_000_000, output=0)) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not = [toml", "not a price table"),
        ('["m"]\ninput = 1', "output"),
        ('["m"]\ninput = -1\noutput = 1', "input"),
        ('["m"]\ninput = 1\noutput = 1\noutptu = 1', "outptu"),
        ("input = 1", "input"),
    ],
)
def test_a_wrong_table_is_told_in_one_line_that_names_the_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told) as error:
        load_prices(path)
    assert "\n" not in str(error.value)
    assert "PRICES_FILE" in str(error.value)


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PRICES_FILE"):
        load_prices(tmp_path / "none.toml")


def test_tokens_are_counted_by_kind() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert tokens_of(usage) == Tokens(input=10, cached=4, output=5, reasoning=3)


@pytest.mark.parametrize(
    "usage", [None, "x", [], {}, {"prompt_tokens": "10"}, {"prompt_tokens": -1}, {"prompt_tokens": True}]
)
def test_what_is_no_count_is_none(usage: object) -> None:
    assert tokens_of(usage) == Tokens()
