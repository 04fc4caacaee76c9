"""The systems of the published tables, one file a family. `registry` has them by name."""
