"""The index in Qdrant. Importing it raises `MissingExtraError` if qdrant-client is not installed."""

from ...extras import import_extra

import_extra("qdrant_client", "An index in Qdrant", "qdrant")
