"""How likely a hit answers its query, from 0 to 1: see `docs/guide/relevance.md`.

A MaxSim score depends on the query as much as on the passage. A `Gauge` knows what the same query scores by chance,
against passages drawn from the index, and at most, once for each of its rows. Where a score lies between the two is a
share that queries of any length and language have in common. A `Curve` turns it into a probability; `calibrate` fits
the curve without labels.
"""

from .calibrate import calibrate, is_due
from .curve import DEFAULT, Curve
from .gauge import Gauge, index_gauge, neutral_gauge
from .language import by_worth

__all__ = ["DEFAULT", "Curve", "Gauge", "by_worth", "calibrate", "index_gauge", "is_due", "neutral_gauge"]
