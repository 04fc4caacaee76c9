"""What a check says."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..errors import RagatouilleXMError

OK, NOTE, FAULT = "ok", "note", "fault"
MOST = 400  # characters of a library's error


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What was looked at.
    found : str
        What was seen.
    status : {"ok", "note", "fault"}
        A note is worth knowing; a fault keeps something from working.
    remedy : str or None
        The command, or the step, that mends it.
    """

    name: str
    found: str
    status: str = OK
    remedy: str | None = None


def attempt(name: str, look: Callable[[], Check], remedy: str | None = None) -> Check:
    """Return what `look` says; if it raises, that is a fault, mended by `remedy`."""
    try:
        return look()
    except Exception as error:  # what is damaged fails in as many ways as there are libraries that read it
        return Check(name, describe_error(error), FAULT, remedy)


def collect_checks(checks: Iterable[Check]) -> list[Check]:
    """Return checks up to the first that fails in a way that nobody foresaw, such as a missing package."""
    collected: list[Check] = []
    try:
        for check in checks:
            collected.append(check)  # noqa: PERF402 (those before the failure are kept)
    except Exception as error:
        collected.append(Check("stopped", describe_error(error), FAULT, "mend what is wrong above, and run this again"))
    return collected


def describe_error(error: BaseException) -> str:
    """Return the message of an error: of ours as it is, of others with their kind."""
    return str(error) if isinstance(error, RagatouilleXMError) else f"{type(error).__name__}: {error}"[:MOST]


def command(*words: str) -> str:
    """Return a command as it is typed into a shell.

    Examples
    --------
    >>> command("ragatouille-xm", "index", "PATH", "--name", "my index")
    "ragatouille-xm index PATH --name 'my index'"
    """
    return shlex.join(words)
