"""Where a service is, and what its refusals mean."""

from __future__ import annotations

import json
from typing import Any

import httpx2 as httpx

from .. import __version__, errors
from ..errors import InputError, RagatouilleXMError, ServiceError
from ..files import http_parts, without_secrets
from .calls import Call

TIMEOUT = 300.0  # seconds: who adds documents waits until they are encoded
CONNECT = 10.0


def options(url: str, api_key: str | None, timeout: float, transport: Any) -> dict[str, Any]:
    """Return the options of an HTTP client.

    Raises
    ------
    InputError
        If `url` is no address, or has a password in it, which messages would show, or a header cannot carry the key.
    """
    parts = http_parts(url)
    if parts is None or parts.query:
        shown = without_secrets(url) if isinstance(url, str) else url
        raise InputError(f"url={shown!r} is no address of a service. Give one such as 'http://localhost:8000'.")
    if parts.username or parts.password:
        raise InputError("url has a user name or a password. Give the key as api_key=.")
    headers = {"User-Agent": f"ragatouille-xm/{__version__}"}
    if api_key is not None:
        if not isinstance(api_key, str) or not api_key.isascii() or not api_key.isprintable():
            raise InputError("api_key has characters that HTTP cannot carry: use letters, digits and signs of ASCII.")
        headers["Authorization"] = f"Bearer {api_key}"
    given = {} if transport is None else {"transport": transport}
    return {
        "base_url": url.rstrip("/"),
        "headers": headers,
        "timeout": httpx.Timeout(timeout, connect=CONNECT),
        **given,
    }


def request(call: Call) -> dict[str, Any]:
    """Return the arguments of a request. Raise `InputError` if it has what JSON does not."""
    arguments: dict[str, Any] = {"method": call.method, "url": call.path}
    if call.json is not None:
        try:
            text = json.dumps(call.json, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"This cannot be asked of a service, in JSON: {error}.") from error
        arguments["content"] = text.encode(errors="surrogatepass")  # of which the service says, as of NaN, where it is
        arguments["headers"] = {"Content-Type": "application/json"}
    return arguments


def result(call: Call, answer: httpx.Response) -> Any:
    """Return what an answer holds.

    Raises
    ------
    RagatouilleXMError
        The error that the model would have raised; a `ServiceError` for all that has to do with the service.
    """
    if answer.is_success:
        try:
            return call.read(answer.json())
        except (ValueError, LookupError, TypeError) as error:
            raise ServiceError(f"{answer.url.host} answers, but not as a ragatouille-xm service does.") from error
    base = str(answer.url.copy_with(query=None)).removesuffix(call.path)
    if answer.has_redirect_location:
        target = str(answer.headers["location"]).partition("?")[0].removesuffix(call.path)
        raise ServiceError(f"{base} sends on to {target!r}. If the service is there, give that address: url=.")
    try:
        problem = answer.json()
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem, detail = {}, f"The service answers with status {answer.status_code}, and does not say why."
    kind = getattr(errors, str(problem.get("error")), None)
    if isinstance(kind, type) and issubclass(kind, RagatouilleXMError) and kind is not errors.MissingExtraError:
        raise kind(detail)
    if answer.status_code == 404:  # an index that is not there is an error of the model, above
        raise ServiceError(f"{base!r} is not the address of a service: {call.path} is not below it. Give another url=.")
    if answer.status_code in (413, 422):
        raise InputError(detail)
    raise ServiceError(detail)


def unreachable(url: object, error: Exception) -> ServiceError:
    """Return the error for a service that gives no answer."""
    if isinstance(error, httpx.TimeoutException):
        return ServiceError(f"The service at {url} did not answer in time. Give more: timeout=.")
    return ServiceError(f"The service at {url} cannot be reached: {error}. Is it running?")
