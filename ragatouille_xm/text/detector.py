"""What a language detector is, and what all of ours share: which languages may be answered, and the fallback."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Protocol, runtime_checkable

from ..languages import LANGUAGES, match
from ..types import Detection
from .scripts import written_in

MAX_CHARACTERS = 300  # more does not make detection better, only slower
NO_LANGUAGE = "zxx"  # the label for text that is in no language
_SCRIPT_DEFAULT = {"Cyrl": "ru", "Arab": "ar", "Deva": "hi", "Hani": "zh"}
_LETTER = re.compile(r"[^\W\d_]")
_ADDRESS = re.compile(r"(?:https?://|www\.)[!-~]+|[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


@runtime_checkable
class LanguageDetector(Protocol):
    """Names the language of texts. Safe to call from many threads."""

    def detect(
        self, texts: Sequence[str], candidates: Collection[str] | None = None, hint: str | None = None
    ) -> list[Detection]:
        """Return the language of each text.

        Parameters
        ----------
        texts : sequence of str
            Anything: empty, without letters, very long. Never a reason to raise.
        candidates : collection of str, optional
            The languages that may be answered; by default, and when empty, all that the detector knows.
        hint : str, optional
            The likeliest language, for a text that does not decide itself.

        Returns
        -------
        list of Detection
            One for each text, in order; languages as in `ragatouille_xm.languages`.
        """
        ...


class Detector:
    """What all detectors share: which languages may be answered, and what happens when a text does not decide.

    Parameters
    ----------
    languages : collection of str, optional
        All that may ever be answered; by default the 81 of `ragatouille_xm.languages`, or whatever the candidates say.
    fallback : str, optional
        For undetectable text, when neither the hint nor the script decides.
    """

    def __init__(self, languages: Collection[str] | None = None, fallback: str | None = None) -> None:
        self.languages = ordered(languages) if languages else None
        self.fallback = fallback

    def allowed(self, candidates: Collection[str] | None) -> tuple[str, ...]:
        """Return the languages that may be answered, given the candidates of a call."""
        every = self.languages or LANGUAGES
        if not candidates:
            return every
        if self.languages is None:
            return ordered(candidates)
        return tuple(language for language in ordered(candidates) if language in every) or every

    def fall_back(self, script: str | None, allowed: tuple[str, ...], hint: str | None) -> Detection:
        """Choose for a text that does not decide.

        The hint, the script's most used language, the detector's fallback, English, the first candidate: the first of
        these that may be answered and is written in the text's script (any, where no candidate is written in it).
        """
        fitting = (written_in(script, allowed) if script else ()) or allowed
        for choice in (hint, _SCRIPT_DEFAULT.get(script or ""), self.fallback, "en"):
            if choice in fitting:
                return Detection(choice, 0.0)
        return Detection(fitting[0], 0.0)


def visible_prefix(text: str) -> str:
    """Return the part of a text that is looked at."""
    first = _LETTER.search(text, 0, 100 * MAX_CHARACTERS)
    start = first.start() if first else 0
    if start < MAX_CHARACTERS:
        start = 0  # a few digits and marks at the head do no harm
    text = text[start : start + 4 * MAX_CHARACTERS]  # so that addresses can go and enough is left
    if "://" in text or "@" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    return text[:MAX_CHARACTERS]


def ordered(languages: Collection[str]) -> tuple[str, ...]:
    """Return languages in their order, or sorted where they have none."""
    return tuple(languages) if isinstance(languages, (Sequence, dict)) else tuple(sorted(languages))


@lru_cache(maxsize=32)
def labels_for(labels: tuple[str, ...], languages: tuple[str, ...]) -> dict[str, str]:
    """Return, of a detector's labels, those that mean one of `languages`, and which."""
    found = {label: match(label, languages, nearest=False) for label in labels if label != NO_LANGUAGE}
    return {label: language for label, language in found.items() if language is not None}
