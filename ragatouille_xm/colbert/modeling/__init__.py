"""The model as colbert-ai names it."""
