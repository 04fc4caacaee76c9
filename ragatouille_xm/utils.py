"""The two helpers of ``ragatouille.utils`` that its examples use."""

from __future__ import annotations

import json
import random
from typing import TypeVar
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from .errors import InputError

T = TypeVar("T")
TIMEOUT = 30  # seconds


def seeded_shuffle(collection: list[T], seed: int = 42) -> list[T]:
    """Shuffle a list in place, always in the same way, and return it.

    Examples
    --------
    >>> seeded_shuffle(["a", "b", "c"])
    ['b', 'a', 'c']
    """
    random.Random(seed).shuffle(collection)
    return collection


def get_wikipedia_page(title: str, *, language: str = "en") -> str | None:
    """Fetch the text of a Wikipedia page.

    Parameters
    ----------
    title : str
    language : str
        Of the Wikipedia: ``"fr"`` for fr.wikipedia.org.

    Returns
    -------
    str or None
        Without markup; None if there is no such page.

    Raises
    ------
    InputError
        If `language` is not part of an address, or the page cannot be fetched.

    Examples
    --------
    >>> text = get_wikipedia_page("Hayao Miyazaki", language="fr")  # doctest: +SKIP
    """
    if not language.replace("-", "").isalnum():
        raise InputError(f"language={language!r} is not that of a Wikipedia. Give one such as 'fr'.")
    asked = {"action": "query", "format": "json", "prop": "extracts", "explaintext": 1, "redirects": 1, "titles": title}
    address = f"https://{language}.wikipedia.org/w/api.php?{urlencode(asked)}"
    request = Request(address, headers={"User-Agent": "ragatouille-xm"})  # they refuse nameless ones
    try:
        with urlopen(request, timeout=TIMEOUT) as response:
            pages = json.load(response)["query"]["pages"]
    except (URLError, TimeoutError, ValueError, KeyError) as error:
        raise InputError(f"The page {title!r} cannot be fetched from {language}.wikipedia.org: {error}.") from error
    text: str | None = next(iter(pages.values())).get("extract")
    return text
