"""The app of ``faust -A tests.e2e.other_formula worker``: Weir with the formula of ``formula_b``."""

from app import app
from tests.e2e import formula_b

formula_b.use()

__all__ = ["app"]
