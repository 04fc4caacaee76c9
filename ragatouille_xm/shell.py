"""Names as a shell reads them back: whatever is shown can be typed."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

_BARE = re.compile(r"[\w@%+=:,./-]+")  # a shell takes these as they are


def typed(name: str) -> str:
    r"""Return a name on one line as bash and zsh read it back: bare, in quotes, or with escapes.

    Examples
    --------
    >>> print(typed("notes/café.txt"), typed("my notes.txt"), typed("two\nlines"))
    notes/café.txt 'my notes.txt' $'two\nlines'
    """
    return name if _BARE.fullmatch(name) and name.isprintable() else quoted(name)


def quoted(name: str | Path) -> str:
    r"""Return a name as `typed` does, always in quotes: for sentences.

    Examples
    --------
    >>> print(quoted("a.txt"), quoted("it's"), quoted("\x1b[31m"))
    'a.txt' 'it'"'"'s' $'\x1b[31m'
    """
    name = os.fspath(name)
    if name.isprintable():
        found = shlex.quote(name)
        return found if found.startswith(("'", '"')) else f"'{found}'"
    return "$'" + "".join(map(_escaped, name)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is not text
        return f"\\x{code - 0xDC00:02x}"
    return repr(character)[1:-1] if code < 0x80 else f"\\U{code:08x}"
