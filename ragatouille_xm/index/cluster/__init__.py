"""The index in a Qdrant cluster."""
