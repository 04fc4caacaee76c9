"""Language detection.

The default, `Py3LangIdDetector`, decides by script where it can; a naive Bayes model over byte n-grams (py3langid)
chooses among the languages of that script. ``benchmarks/languages.py`` compares it with langdetect.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from ..errors import InputError
from ..languages import ADAPTERS, AdapterTable
from ..types import DetectedLanguage, Detection
from .detector import NO_LANGUAGE, Detector, LanguageDetector, labels_for, ordered, visible_prefix
from .other_detectors import CallableDetector, LangdetectDetector
from .scripts import han_characters, main_script, written_in

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = [
    "CallableDetector", "LangdetectDetector", "LanguageDetector", "Py3LangIdDetector", "detect_languages",
    "make_detector",
]  # fmt: skip

MIN_CONFIDENCE = 0.2  # below, most texts are names, products and code
ABOVE_CHANCE = 1.25  # times the chance level: with few candidates, even a featureless text exceeds 0.2

_loading = Lock()


class Py3LangIdDetector(Detector):
    """The default: first the script, then py3langid among the languages of that script. Deterministic, offline.

    Rules, in order, over the first 300 characters without web and e-mail addresses:

    1. Without letters: the fallback (see `ragatouille_xm.text.detector.Detector.fall_back`).
    2. If one candidate is written in the script: that one. If none is: the fallback.
    3. Kana means Japanese. Han without kana is Japanese if it has a character used only in Japan, or if the hint is
       Japanese and no character contradicts it; otherwise Chinese, simplified or traditional by the characters that
       exist in only one of GB 2312 and Big5.
    4. py3langid's probabilities over the candidates of the script and "no language". If "no language" wins, or the best
       is below 0.2 or barely above chance: the fallback, which is a language of the script.

    Parameters
    ----------
    languages, fallback
        All languages that may be returned, and one for undetectable text. Both optional.

    Examples
    --------
    >>> detector = Py3LangIdDetector()
    >>> [d.language for d in detector.detect(["Où est la gare ?", "駅はどこですか", "图书馆在哪里", "圖書館在哪裡"])]
    ['fr', 'ja', 'zh', 'zh-TW']
    >>> detector.detect(["12:30"], candidates=["fr", "de"], hint="de")
    [Detection(language='de', confidence=0.0)]
    """

    def detect(
        self, texts: Sequence[str], candidates: Collection[str] | None = None, hint: str | None = None
    ) -> list[Detection]:
        """Return the language of each text; see `LanguageDetector.detect`."""
        allowed = self.allowed(candidates)
        return [self._detect(text, allowed, hint) for text in texts]

    def _detect(self, text: str, allowed: tuple[str, ...], hint: str | None) -> Detection:
        text = visible_prefix(text)
        script = main_script(text)
        if script is None:
            return self.fall_back(None, allowed, hint)
        fitting = written_in(script, allowed)
        if len(fitting) == 1:
            return Detection(fitting[0], 1.0)
        if not fitting:
            return self.fall_back(script, allowed, hint)
        if script == "Hani":
            return self._detect_han(text, fitting, hint)
        return self._detect_by_model(text, script, fitting, hint) or self.fall_back(script, allowed, hint)

    def _detect_han(self, text: str, fitting: tuple[str, ...], hint: str | None) -> Detection:
        han = han_characters()
        characters = set(text)
        if "ja" in fitting:
            if characters & han.japanese:
                return Detection("ja", 1.0)
            if hint == "ja" and not characters & han.not_japanese:
                return Detection("ja", 0.5)
        chinese = [language for language in fitting if language != "ja"]
        if len(chinese) == 1:
            return Detection(chinese[0], 1.0)
        lead = sum(c in han.traditional for c in text) - sum(c in han.simplified for c in text)
        if lead:
            return Detection("zh-TW" if lead > 0 else "zh", 1.0)
        return Detection(hint if hint in chinese else "zh", 0.5)

    def _detect_by_model(self, text: str, script: str, fitting: tuple[str, ...], hint: str | None) -> Detection | None:
        identifier, language_of = _restricted(fitting)
        if not language_of:
            return None
        confidence: dict[str, float] = defaultdict(float)
        nothing = 0.0
        for label, probability in identifier.rank(text):
            if label in language_of:
                confidence[language_of[label]] += probability
            else:
                nothing = probability
        best = max(confidence, key=confidence.__getitem__)
        chance = list(language_of.values()).count(best) / (len(language_of) + 1)
        if confidence[best] < max(MIN_CONFIDENCE, ABOVE_CHANCE * chance, nothing):
            return None
        return Detection(best, min(confidence[best], 1.0))


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=16)  # about 10 MB for all languages in Latin script, less for fewer
def _restricted(languages: tuple[str, ...]) -> tuple[LanguageIdentifier, dict[str, str]]:
    """Return py3langid restricted to some languages, and the language of each of its labels."""
    with _loading:
        base = _identifier()
    language_of = labels_for(tuple(base.labels), languages)
    identifier = copy.copy(base)  # shares the automaton; set_languages replaces only the copy's own weights
    identifier.set_languages([*language_of, NO_LANGUAGE])
    return identifier, language_of


_DETECTORS: dict[str, Callable[..., LanguageDetector]] = {
    "py3langid": Py3LangIdDetector,
    "langdetect": LangdetectDetector,
}


def make_detector(
    spec: str | Callable[[str], object] | LanguageDetector = "py3langid", languages: Collection[str] | None = None
) -> LanguageDetector:
    """Return a language detector.

    Parameters
    ----------
    spec : str, callable or LanguageDetector
        ``"py3langid"``, ``"langdetect"``, a function as `CallableDetector` takes it, or a detector, returned as it is.
    languages : collection of str, optional
        All languages that may be returned.

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> make_detector().detect(["Wo ist der Bahnhof?"], candidates=["de", "nl"])[0].language
    'de'
    """
    if isinstance(spec, str) and spec in _DETECTORS:
        return _DETECTORS[spec](languages)
    if isinstance(spec, LanguageDetector) and not isinstance(spec, type):
        return spec
    if callable(spec) and not isinstance(spec, type):
        return CallableDetector(spec, languages)
    names = " or ".join(f'"{name}"' for name in _DETECTORS)
    raise InputError(f"language_detector={spec!r} is not known. Use {names}, or a function from a text to a code.")


def detect_languages(
    texts: str | Sequence[str],
    candidates: Collection[str] | None = None,
    detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
) -> list[DetectedLanguage]:
    """Return the language and adapter of each text, without a checkpoint.

    Parameters
    ----------
    texts : str or sequence of str
    candidates : collection of str, optional
        Possible languages, as any tags; by default the 81 of ColBERT-XM.
    detector : str, callable or LanguageDetector
        As for `make_detector`.

    Raises
    ------
    LanguageError
        If a candidate is not a language.
    InputError
        If a text is not a string.

    Examples
    --------
    >>> detect_languages("Gdzie jest biblioteka?")[0].adapter
    'pl_PL'
    """
    table = AdapterTable(ADAPTERS, "en_XX")
    allowed = None if candidates is None else tuple(dict.fromkeys(table.resolve(tag) for tag in ordered(candidates)))
    found = make_detector(detector).detect(list_of_strings(texts, "texts"), allowed)
    return [DetectedLanguage(each.language, table.adapter_for(each.language), each.confidence) for each in found]


def list_of_strings(given: str | Iterable[str], name: str) -> list[str]:
    """Return one string or several as a list; `name` is the parameter's name in messages.

    Raises
    ------
    InputError
        If they are not strings.
    """
    listed = [given] if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) else list(given)
    for each in listed:
        if not isinstance(each, str):
            raise InputError(f"{name} has {each!r}: give a list of strings, or one string.")
    return listed
