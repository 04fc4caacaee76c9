"""The error tree.

::

    RagatouilleXMError
    ├── InputError (ValueError)         a value given by the user is invalid
    │   ├── FilterError                 a metadata filter
    │   ├── LanguageError               an unknown language, or one without an adapter
    │   └── DuplicateDocumentError      a document id that is already in the index
    ├── CheckpointError                 a checkpoint is missing, damaged or of an unknown kind
    ├── PassageIndexError               an index …
    │   ├── IndexNotFoundError          … does not exist (also an InputError)
    │   ├── IndexDamagedError           … is damaged: something is missing or unreadable
    │   ├── IndexFormatError            … has a newer format, or another checkpoint
    │   ├── IndexLockedError            … is being written by another process
    │   ├── ReadOnlyIndexError          … has another program's format, which is read-only
    │   ├── DatabaseError               … is in a database that is unreachable, rejects the key, or fails
    │   └── StorageError                … could not be written (disk full, no permission)
    ├── WorkerError (RuntimeError)      workers cannot be started, or fail
    ├── ServiceError (ConnectionError)  a service is unreachable, refuses, or fails
    └── MissingExtraError (ImportError) an optional package is not installed

Every message names the value and a way out.
"""

from __future__ import annotations


class RagatouilleXMError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(RagatouilleXMError, ValueError):
    """A value given by the user is invalid."""


class FilterError(InputError):
    """A metadata filter is invalid."""


class LanguageError(InputError):
    """A language is unknown, or has no adapter."""


class DuplicateDocumentError(InputError):
    """A document id is given twice, or is already in the index."""


class CheckpointError(RagatouilleXMError):
    """A checkpoint is missing, damaged or of an unknown kind."""


class PassageIndexError(RagatouilleXMError):
    """Base of all index errors."""


class IndexNotFoundError(PassageIndexError, InputError, FileNotFoundError):
    """There is no index at that path or of that name."""


class IndexDamagedError(PassageIndexError):
    """Something in the index is missing or cannot be read."""


class IndexFormatError(PassageIndexError):
    """The index was written by a newer version or with another checkpoint."""


class IndexLockedError(PassageIndexError):
    """Another process is writing to the index."""


class ReadOnlyIndexError(PassageIndexError):
    """The index has another program's format: it can be searched but not changed."""


class DatabaseError(PassageIndexError, ConnectionError):
    """The database that holds the index is unreachable, rejects the key, or fails."""


class StorageError(PassageIndexError, OSError):
    """The index could not be written."""


class WorkerError(RagatouilleXMError, RuntimeError):
    """Workers, or the cluster that they are on, cannot be started, or fail."""


class ServiceError(RagatouilleXMError, ConnectionError):
    """A service is unreachable, rejects the key, is busy, or fails."""


class MissingExtraError(RagatouilleXMError, ImportError):
    """An optional package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs an optional package. Install it with: pip install "ragatouille-xm[{extra}]"')
