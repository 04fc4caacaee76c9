"""The model: checkpoint formats, the X-MOD encoder and its adapters, ColBERT."""
