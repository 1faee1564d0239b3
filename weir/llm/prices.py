"""Computes the cost of an answer from a table of prices, which is a file."""

import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from weir.errors import SettingsError

OURS: Final = Path(__file__).with_name("prices.toml")
_MILLION: Final = 1_000_000


class Price(BaseModel):
    """The price of a model in US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one answer by kind; None where the LLM did not count them."""

    input: int | None = None  # tokens of the prompt, cached ones included
    cached: int | None = None
    output: int | None = None  # thinking included
    reasoning: int | None = None


def tokens_of(usage: Any) -> Tokens:
    """The counts in OpenAI's usage object; None for a count that is missing or not a number."""
    if not isinstance(usage, dict):
        return Tokens()
    return Tokens(
        input=_count(usage, "prompt_tokens"),
        cached=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        output=_count(usage, "completion_tokens"),
        reasoning=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Prices:
    """The price of each model."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = {pattern.lower(): price for pattern, price in prices.items()}

    def cost_usd(self, model: str, tokens: Tokens) -> float | None:
        """The cost of these tokens in US dollars; None if the model has no price, or the tokens were not counted."""
        price = self.of(model)
        if price is None or tokens.input is None or tokens.output is None:
            return None
        cached = min(tokens.cached or 0, tokens.input)
        per_cached = price.input if price.cached_input is None else price.cached_input
        cost = (tokens.input - cached) * price.input + cached * per_cached + tokens.output * price.output
        return round(cost / _MILLION, 9)

    def of(self, model: str) -> Price | None:
        """The price of a model: the first entry whose pattern matches its name."""
        name = model.lower()
        return next((price for pattern, price in self._prices.items() if fnmatch.fnmatchcase(name, pattern)), None)


def load_prices(path: Path | None) -> Prices:
    """Read a price table; Weir's own if no file is given.

    Raises:
        SettingsError: the file cannot be read, or is not a price table; the message is one line.
    """
    try:
        given = tomllib.loads((path or OURS).read_text())
        return Prices(TypeAdapter(dict[str, Price]).validate_python(given))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"PRICES_FILE is {str(path)!r}, which is not a price table: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"PRICES_FILE is {str(path)!r}; {where}: {first['msg']}") from None
