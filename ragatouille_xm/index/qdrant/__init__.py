"""The index in Qdrant. Importing it raises `MissingExtraError` if qdrant-client is not installed."""

from ...errors import MissingExtraError

try:
    import qdrant_client  # noqa: F401
except ImportError as error:
    raise MissingExtraError("An index in Qdrant", "qdrant") from error
