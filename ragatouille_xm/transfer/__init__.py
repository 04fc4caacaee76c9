"""Indexes in other formats and places, without encoding their texts again, and checkpoints for other programs."""
