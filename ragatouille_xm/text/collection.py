"""The languages of a collection's texts, as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from ..types import Detection
from .detector import LanguageDetector

BATCH = 512  # texts that are weighed together: enough to tell shares, and always the same, whatever the device
UNCERTAIN = 0.5  # a language with less confidence is less likely than not


class CollectionLanguages:
    """Detects the languages of a collection, 512 texts at a time: in the light of these and of all before them.

    The same texts in the same order always give the same languages. In another order, only texts that say little
    themselves may differ, and only if they come before those that tell what the collection is written in.

    Parameters
    ----------
    detector : LanguageDetector
    languages : collection of str
        Possible languages; if empty, all that the detector knows.
    counts : mapping of str to int, optional
        How many texts in each language the collection held before.

    Attributes
    ----------
    decided : Counter of str
        How many texts of each language have come.
    uncertain : int
        How many of them were detected with a confidence below 0.5.

    Examples
    --------
    >>> from ragatouille_xm.text.detect import Py3LangIdDetector
    >>> languages = CollectionLanguages(Py3LangIdDetector(), ["gl", "es", "pt"])
    >>> [found.language for found in languages.detect(["Bolsa de couro", "Cinto", "Tênis de corrida", "Meias"])]
    ['pt', 'pt', 'pt', 'pt']
    """

    def __init__(
        self, detector: LanguageDetector, languages: Collection[str], counts: Mapping[str, int] | None = None
    ) -> None:
        self._detector = detector
        self._languages = languages
        self._held = Counter(counts or {})
        self.decided: Counter[str] = Counter()
        self.uncertain = 0

    def detect(self, texts: Sequence[str | None], given: Sequence[str | None] | None = None) -> list[Detection]:
        """Return the language of each text; one in `given` is kept, with the confidence 1.

        None stands for a document without text: it has the language ``""``, and counts for nothing but its place among
        the 512.
        """
        stated = given if given is not None else [None] * len(texts)
        found: list[Detection] = []
        for start in range(0, len(texts), BATCH):
            found += self._detect_batch(texts[start : start + BATCH], stated[start : start + BATCH])
        return found

    def _detect_batch(self, texts: Sequence[str | None], given: Sequence[str | None]) -> list[Detection]:
        stated = ["" if text is None else language for text, language in zip(texts, given, strict=True)]
        known = Counter(filter(None, stated))
        unknown = [text for text, language in zip(texts, stated, strict=True) if text is not None and language is None]
        counts = self._held + self.decided + known
        detected = self._detector.detect(unknown, self._languages, counts, together=True) if unknown else []
        self.uncertain += sum(each.confidence < UNCERTAIN for each in detected)
        rest = iter(detected)
        found = [next(rest) if language is None else Detection(language, 1.0) for language in stated]
        self.decided.update(each.language for each in found if each.language)
        return found

    def summary(self) -> str:
        """Name the languages and how many texts each has: ``"fr 812, de 90, uncertain 14"``."""
        parts = [
            f"{language} {n}" for language, n in sorted(self.decided.items(), key=lambda each: (-each[1], each[0]))
        ]
        return ", ".join([*parts, f"uncertain {self.uncertain}"] if self.uncertain else parts)
