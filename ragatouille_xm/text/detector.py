"""The detector protocol, and the base of our detectors: allowed languages, and what they do without evidence."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Protocol, runtime_checkable

from ..languages import LANGUAGES, match
from ..types import Detection
from .prior import Evidence, decide
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
        self,
        texts: Sequence[str],
        candidates: Collection[str] | None = None,
        counts: Mapping[str, float] | None = None,
        *,
        together: bool = False,
    ) -> list[Detection]:
        """Return the language of each text.

        Parameters
        ----------
        texts : sequence of str
            Any text: empty, without letters, very long. None of them raises.
        candidates : collection of str, optional
            Possible languages; by default, and if empty, all that the detector knows.
        counts : mapping of str to float, optional
            How many texts in each language the collection holds that these are for.
        together : bool
            The texts are of one collection, and say something about each other. Otherwise the language of each does
            not depend on the others.

        Returns
        -------
        list of Detection
            One for each text, in order; languages as in `ragatouille_xm.languages`.
        """
        ...


class Detector(ABC):
    """Base of the detectors, which weigh the `evidence` that theirs find by `ragatouille_xm.text.prior`.

    Parameters
    ----------
    languages : collection of str, optional
        All that may be returned; by default the 81 of `ragatouille_xm.languages`, or the candidates of a call.
    fallback : str, optional
        For undetectable text, if neither the collection nor the script decides; by default English.
    """

    def __init__(self, languages: Collection[str] | None = None, fallback: str | None = None) -> None:
        self.languages = ordered(languages) if languages else None
        self.fallback = fallback

    def detect(
        self,
        texts: Sequence[str],
        candidates: Collection[str] | None = None,
        counts: Mapping[str, float] | None = None,
        *,
        together: bool = False,
    ) -> list[Detection]:
        """Return the language of each text; see `LanguageDetector.detect`."""
        allowed = self.allowed(candidates)
        return decide(self.evidence(texts, allowed), allowed, counts, together=together)

    @abstractmethod
    def evidence(self, texts: Sequence[str], allowed: tuple[str, ...]) -> list[Evidence]:
        """Return what each text says about its language, one of `allowed`."""

    def allowed(self, candidates: Collection[str] | None) -> tuple[str, ...]:
        """Return the languages that may be returned, given the candidates of a call."""
        every = self.languages or LANGUAGES
        if not candidates:
            return every
        if self.languages is None:
            return ordered(candidates)
        return tuple(language for language in ordered(candidates) if language in every) or every

    def inconclusive(
        self, script: str | None, allowed: tuple[str, ...], likelihoods: Mapping[str, float] | None = None
    ) -> Evidence:
        """Return the evidence of a text that says little.

        By default all languages written in its script are equally likely; in any script, if none is written in it. The
        usual language is the script's most used one, or the detector's fallback, English or the first of `allowed`.
        """
        fitting = (written_in(script, allowed) if script else ()) or allowed
        choices = (_SCRIPT_DEFAULT.get(script or ""), self.fallback, "en")
        usual = next((choice for choice in choices if choice in fitting), fitting[0])
        return Evidence(likelihoods or dict.fromkeys(fitting, 0.0), usual)


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
