"""Evaluation: retrieval sets, the systems of the published tables, and how well each finds what it should."""
