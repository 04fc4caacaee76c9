"""Multilingual late-interaction retrieval: every text through its own language adapter."""

__version__ = "0.1.0"
