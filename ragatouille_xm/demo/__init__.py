"""A small real checkpoint and a small multilingual collection, to try everything offline."""

from .checkpoint import demo_checkpoint, trained_languages
from .sample import SampleDocument, SampleQuery, demo_queries, demo_sample

__all__ = ["SampleDocument", "SampleQuery", "demo_checkpoint", "demo_queries", "demo_sample", "trained_languages"]
