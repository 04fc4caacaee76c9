"""Results of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..errors import RagatouilleXMError
from ..files import lacks_memory
from ..shell import typed

OK, NOTE, FAULT = "ok", "note", "fault"
MOST = 400  # characters of a library's error


class Check(NamedTuple):
    """The result of one check.

    Attributes
    ----------
    name : str
        What was checked.
    found : str
        The finding.
    status : {"ok", "note", "fault"}
        A note is worth knowing; a fault prevents something from working.
    remedy : str or None
        The command or step that fixes it.
    """

    name: str
    found: str
    status: str = OK
    remedy: str | None = None


def attempt(name: str, look: Callable[[], Check], remedy: str | None = None) -> Check:
    """Return the result of `look`; an exception is a fault with `remedy`."""
    try:
        return look()
    except Exception as error:  # every library that reads a damaged file fails in its own way
        if lacks_memory(error):
            raise
        return Check(name, describe_error(error), FAULT, remedy)


def collect_checks(checks: Iterable[Check]) -> list[Check]:
    """Return checks up to the first unexpected failure, such as a missing package."""
    collected: list[Check] = []
    try:
        for check in checks:
            collected.append(check)  # noqa: PERF402 (keeps those before a failure)
    except Exception as error:
        collected.append(Check("stopped", describe_error(error), FAULT, "fix the problems above, and run this again"))
    return collected


def describe_error(error: BaseException) -> str:
    """Return the message of an error, with its type unless it is ours."""
    return str(error) if isinstance(error, RagatouilleXMError) else f"{type(error).__name__}: {error}"[:MOST]


def command(*words: str) -> str:
    """Return a command, quoted for a shell.

    Examples
    --------
    >>> command("ragatouille-xm", "index", "PATH", "--name", "my index")
    "ragatouille-xm index PATH --name 'my index'"
    """
    return " ".join(map(typed, words))
