"""The systems of the published tables, one module per kind. `registry` lists them by name."""
