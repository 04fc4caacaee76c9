"""Errors as problem details (RFC 9457)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..errors import (
    DuplicateDocumentError,
    IndexLockedError,
    IndexNotFoundError,
    InputError,
    RagatouilleXMError,
    ReadOnlyIndexError,
    StorageError,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and the way out."},
        "error": {"type": "string", "description": "The exception of ragatouille_xm.errors, if it is one."},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "All that is wrong with a request."},
    },
}
RETRY = {"Retry-After": "1"}
OF_HTTP = {  # what the framework refuses, and says little of
    400: "The body cannot be read. Send JSON in UTF-8, not compressed.",
    404: "There is nothing at {path}. {root}/openapi.json describes what there is.",
    405: "{path} does not take {method}. {root}/openapi.json describes what it takes.",
}
NOT_JSON = "The body is not taken for JSON. Send it with the header 'Content-Type: application/json'."
STATUSES: dict[type[RagatouilleXMError], int] = {  # the first that suits; what is not listed is a fault of the service
    IndexNotFoundError: 404,
    DuplicateDocumentError: 409,
    ReadOnlyIndexError: 409,
    InputError: 400,
    IndexLockedError: 503,
    StorageError: 507,
}


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI describes these answers."""
    content = {MEDIA_TYPE: {"schema": _SCHEMA}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """A request that cannot be answered.

    Parameters
    ----------
    status : int
        Of HTTP.
    detail : str
        What is wrong and the way out, for people.
    headers : mapping, optional
    **extensions
        More members of the problem.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None, **extensions: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.members = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **extensions}

    def response(self) -> JSONResponse:
        """Return it as a response."""
        return JSONResponse(self.members, self.status, self.headers, MEDIA_TYPE)


def problem_of(error: Exception, shown: Callable[[str], str]) -> Problem:
    """Return what to tell a client of an error; what it may not know stays in the log.

    Parameters
    ----------
    error : Exception
    shown : callable
        Makes of a message what clients may see of it: `Service.shown`.
    """
    if isinstance(error, Problem):
        return error
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                break
            return Problem(status, shown(str(error)), error=type(error).__name__)
    logger.error("a request failed", exc_info=error)
    if isinstance(error, IndexLockedError):
        return Problem(503, "Another process is writing to the index. Try again later.", RETRY)
    if isinstance(error, StorageError):
        return Problem(
            507, "The index could not be written to disk; it is as it was. The log of the service says more."
        )
    return Problem(500, "The service failed. Its log says why.")


def install(app: FastAPI) -> None:
    """Let an application answer every error with a problem."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return problem_of(error, request.app.state.service.shown).response()

    async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        errors = [{"where": list(each["loc"]), "detail": each["msg"]} for each in error.errors()]
        if errors[0]["where"] == ["body"] and "json" not in request.headers.get("content-type", ""):
            errors[0]["detail"] = NOT_JSON
        first = errors[0]
        where = ".".join(map(str, first["where"]))
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return Problem(422, f"{where}: {first['detail']}{more}", errors=errors).response()

    async def answer_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        known = OF_HTTP.get(error.status_code)
        where = {"path": request.url.path, "method": request.method, "root": request.scope.get("root_path", "")}
        detail = known.format(**where) if known else str(error.detail)
        return Problem(error.status_code, detail, error.headers).response()

    app.add_exception_handler(RagatouilleXMError, answer)
    app.add_exception_handler(Problem, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(Exception, answer)
