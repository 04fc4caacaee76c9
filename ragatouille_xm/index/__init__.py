"""The index: one contract, several engines."""
