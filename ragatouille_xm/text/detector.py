"""The detector protocol, and the base of our detectors: allowed languages and the fallback."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Protocol, runtime_checkable

from ..languages import LANGUAGES, match
from ..types import Detection
from .scripts import written_in

MAX_CHARACTERS = 300  # more only makes detection slower
NO_LANGUAGE = "zxx"  # the label for text without a language
_SCRIPT_DEFAULT = {"Cyrl": "ru", "Arab": "ar", "Deva": "hi", "Hani": "zh"}
_LETTER = re.compile(r"[^\W\d_]")
_ADDRESS = re.compile(r"(?:https?://|www\.)[!-~]+|[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


@runtime_checkable
class LanguageDetector(Protocol):
    """Detects the language of texts. Thread-safe."""

    def detect(
        self, texts: Sequence[str], candidates: Collection[str] | None = None, hint: str | None = None
    ) -> list[Detection]:
        """Return the language of each text.

        Parameters
        ----------
        texts : sequence of str
            Any text: empty, without letters, very long. None of them raises.
        candidates : collection of str, optional
            Possible languages; by default, and if empty, all that the detector knows.
        hint : str, optional
            The likeliest language, for inconclusive texts.

        Returns
        -------
        list of Detection
            One for each text, in order; languages as in `ragatouille_xm.languages`.
        """
        ...


class Detector:
    """Base of the detectors: allowed languages, and the fallback for inconclusive texts.

    Parameters
    ----------
    languages : collection of str, optional
        All that may be returned; by default the 81 of `ragatouille_xm.languages`, or the candidates of a call.
    fallback : str, optional
        For undetectable text, if neither the hint nor the script decides.
    """

    def __init__(self, languages: Collection[str] | None = None, fallback: str | None = None) -> None:
        self.languages = ordered(languages) if languages else None
        self.fallback = fallback

    def allowed(self, candidates: Collection[str] | None) -> tuple[str, ...]:
        """Return the languages that may be returned, given the candidates of a call."""
        every = self.languages or LANGUAGES
        if not candidates:
            return every
        if self.languages is None:
            return ordered(candidates)
        return tuple(language for language in ordered(candidates) if language in every) or every

    def fall_back(self, script: str | None, allowed: tuple[str, ...], hint: str | None) -> Detection:
        """Choose a language for an inconclusive text.

        Of the hint, the script's most used language, the detector's fallback, English and the first candidate: the
        first that is allowed and written in the text's script (in any script, if no candidate is written in it).
        """
        fitting = (written_in(script, allowed) if script else ()) or allowed
        for choice in (hint, _SCRIPT_DEFAULT.get(script or ""), self.fallback, "en"):
            if choice in fitting:
                return Detection(choice, 0.0)
        return Detection(fitting[0], 0.0)


def visible_prefix(text: str) -> str:
    """Return the part of a text that is examined."""
    first = _LETTER.search(text, 0, 100 * MAX_CHARACTERS)
    start = first.start() if first else 0
    if start < MAX_CHARACTERS:
        start = 0  # a few leading digits and marks do no harm
    text = text[start : start + 4 * MAX_CHARACTERS]  # enough even once addresses are removed
    if "://" in text or "@" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    return text[:MAX_CHARACTERS]


def ordered(languages: Collection[str]) -> tuple[str, ...]:
    """Return languages in their order, or sorted if they have none."""
    return tuple(languages) if isinstance(languages, (Sequence, dict)) else tuple(sorted(languages))


@lru_cache(maxsize=32)
def labels_for(labels: tuple[str, ...], languages: tuple[str, ...]) -> dict[str, str]:
    """Map those of a detector's labels that mean one of `languages` to it."""
    found = {label: match(label, languages, nearest=False) for label in labels if label != NO_LANGUAGE}
    return {label: language for label, language in found.items() if language is not None}
