"""Evidence: which words of a passage the words of a query matched, and where they stand."""

from __future__ import annotations

from .explainer import Explainer
from .values import Evidence, Span, WordMatch

__all__ = ["Evidence", "Explainer", "Span", "WordMatch"]
