"""The index in PostgreSQL. Importing it raises `MissingExtraError` if psycopg is not installed."""

from ...extras import import_extra

import_extra("psycopg", "An index in PostgreSQL", "postgres")
