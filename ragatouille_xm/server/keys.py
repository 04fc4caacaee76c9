"""Who may read and who may write."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from .problems import Problem
from .settings import ServerSettings

CHALLENGE = {"WWW-Authenticate": "Bearer"}


def check_read(settings: ServerSettings, authorization: str | None) -> None:
    """Raise `Problem` unless the holder of this ``Authorization`` header may read."""
    if settings.read_keys:
        _check(settings.keys, authorization)


def check_write(settings: ServerSettings, authorization: str | None) -> None:
    """Raise `Problem` unless the holder of this ``Authorization`` header may write."""
    check_read(settings, authorization)
    if not settings.is_writable:
        raise Problem(403, "This service is read-only.")
    if settings.write_keys and not _is_among(settings.write_keys, _key_of(authorization)):
        if authorization is None:
            raise Problem(401, "Writing needs an API key: send it as 'Authorization: Bearer KEY'.", headers=CHALLENGE)
        raise Problem(403, "This API key may not write.")


def _check(keys: Sequence[str], authorization: str | None) -> None:
    if authorization is None:
        raise Problem(401, "This service needs an API key: send it as 'Authorization: Bearer KEY'.", headers=CHALLENGE)
    if not _is_among(keys, _key_of(authorization)):
        raise Problem(401, "The API key is not valid.", headers=CHALLENGE)


def _key_of(authorization: str | None) -> str:
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _is_among(keys: Sequence[str], given: str) -> bool:
    """Return whether a key is one of `keys`, in a time that does not depend on how much of one it has right."""
    found = False
    for key in keys:
        found |= hmac.compare_digest(key.encode(), given.encode())
    return found
