"""Text: language detection, chunks, tokens, batches."""
