"""What ``faust -A tests.e2e.other_formula worker`` runs: Weir that scores as ``formula_b`` says."""

from app import app
from tests.e2e import formula_b

formula_b.use()

__all__ = ["app"]
