"""The index in PostgreSQL. Importing it raises `MissingExtraError` if psycopg is not installed."""

from ...errors import MissingExtraError

try:
    import psycopg  # noqa: F401
except ImportError as error:
    raise MissingExtraError("An index in PostgreSQL", "postgres") from error
