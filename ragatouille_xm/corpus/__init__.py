"""The corpus: documents, passages, metadata and filters."""
