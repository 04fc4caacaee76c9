"""Language detection.

The default, `Py3LangIdDetector`, decides by script where it can; a naive Bayes model over byte n-grams (py3langid)
weighs the languages of that script. What the collection is written in decides where a text says little
(`ragatouille_xm.text.prior`). ``benchmarks/languages.py`` measures it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, ItemsView, Iterable, KeysView, Mapping, Sequence, Set
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

from ..errors import InputError
from ..languages import ADAPTERS, LANGUAGES, AdapterTable
from ..types import DetectedLanguage
from .collection import CollectionLanguages
from .detector import NO_LANGUAGE, Detector, LanguageDetector, labels_for, ordered, visible_prefix
from .mixed import Reading, readings
from .other_detectors import CallableDetector, LangdetectDetector
from .prior import Evidence
from .scripts import han_characters, written_in

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = [
    "CallableDetector", "LangdetectDetector", "LanguageDetector", "Py3LangIdDetector", "detect_languages",
    "make_detector",
]  # fmt: skip

MIN_CONFIDENCE = 0.4  # below, most texts are names, products and code
# The model takes the features of a text for independent, so it is too sure of long ones. Its scores are divided by this
# times the fifth root of the number of bytes: a text counts for more the longer it is, but not in proportion.
TEMPERATURE = 2.0
SECOND_READING = -0.7  # logarithm: a text in two scripts is half as likely in the second

_loading = Lock()


class Py3LangIdDetector(Detector):
    """The default: first the script, then py3langid among the languages of that script. Deterministic, offline.

    Rules, in order, over the first 300 characters without web and e-mail addresses:

    1. Without letters, a text is of the collection's main language (`ragatouille_xm.text.detector`).
    2. Of a text in several scripts, the running words count: see `ragatouille_xm.text.mixed`.
    3. If one candidate is written in the script: that one. If none is: as without letters.
    4. Kana means Japanese. Han without kana is Japanese if it has a character used only in Japan, or if the collection
       is and no character contradicts it; otherwise Chinese, simplified or traditional by the characters that exist in
       only one of GB 2312 and Big5.
    5. py3langid's likelihoods. If no language of the script has a probability of 0.4 among all of them, or "no
       language" has a higher one, the text says little: their square roots.

    Parameters
    ----------
    languages, fallback
        All languages that may be returned, and one for undetectable text. Both optional.

    Examples
    --------
    >>> detector = Py3LangIdDetector()
    >>> [d.language for d in detector.detect(["Où est la gare ?", "駅はどこですか", "图书馆在哪里", "圖書館在哪裡"])]
    ['fr', 'ja', 'zh', 'zh-TW']
    >>> detector.detect(["12:30"], candidates=["fr", "de"], counts={"de": 40})
    [Detection(language='de', confidence=0.0)]
    """

    def evidence(self, texts: Sequence[str], allowed: tuple[str, ...]) -> list[Evidence]:
        """Return what each text says about its language, one of `allowed`."""
        return [self._evidence(visible_prefix(text), allowed) for text in texts]

    def _evidence(self, text: str, allowed: tuple[str, ...]) -> Evidence:
        scripts = [reading for reading in readings(text) if written_in(reading.script, allowed)]
        if not scripts:
            return self.inconclusive(None, allowed)
        found = [self._read(reading, allowed) for reading in scripts]
        if len(found) == 1:
            return found[0]
        likelihoods = {language: value + SECOND_READING for language, value in found[1].likelihoods.items()}
        return Evidence({**likelihoods, **found[0].likelihoods}, found[0].usual)

    def _read(self, reading: Reading, allowed: tuple[str, ...]) -> Evidence:
        """Return the evidence of a text in one script."""
        fitting = written_in(reading.script, allowed)
        if len(fitting) == 1:
            return Evidence({fitting[0]: 0.0})
        if reading.script == "Hani":
            return Evidence(_weigh_han(reading.text, fitting))
        likelihoods, conclusive = _weigh_by_model(reading.text, reading.script, fitting)
        return Evidence(likelihoods) if conclusive else self.inconclusive(reading.script, allowed, likelihoods)


def _weigh_han(text: str, fitting: tuple[str, ...]) -> dict[str, float]:
    """Return the logarithms of the likelihoods of Japanese, simplified and traditional Chinese."""
    han = han_characters()
    characters = set(text)
    chinese = [language for language in fitting if language != "ja"]
    lead = sum(c in han.traditional for c in text) - sum(c in han.simplified for c in text) if len(chinese) > 1 else 0
    weights = {"zh": min(0.0, -3.0 * lead), "zh-TW": min(0.0, 3.0 * lead)}
    if characters & han.japanese:
        weights["ja"] = 3.0
    elif not characters & han.not_japanese:
        weights["ja"] = -1.0
    found = {language: weights[language] for language in fitting if language in weights}
    return found or dict.fromkeys(fitting, 0.0)


def _weigh_by_model(text: str, script: str, fitting: tuple[str, ...]) -> tuple[dict[str, float], bool]:
    """Return the logarithm of each language's likelihood, and whether the text is conclusive."""
    identifier, language_of = _restricted(written_in(script, tuple(dict.fromkeys((*LANGUAGES, *fitting)))))
    text = f" {text.lower()} "  # titles are read better in lower case, and words at the ends as words
    scale = TEMPERATURE * len(text.encode("utf-8", "surrogatepass")) ** 0.2
    scores = {label: score / scale for label, score in identifier.rank(text)}
    top = max(scores.values())
    nothing = math.exp(scores[NO_LANGUAGE] - top)
    likelihoods: dict[str, float] = {}
    for label, language in language_of.items():
        likelihoods[language] = max(likelihoods.get(language, -math.inf), scores[label] - top)
    best = math.exp(max(likelihoods.values()))
    conclusive = best >= max(MIN_CONFIDENCE * (nothing + sum(map(math.exp, likelihoods.values()))), nothing)
    share = 1.0 if conclusive else 0.5
    return {language: share * likelihoods[language] for language in fitting if language in likelihoods}, conclusive


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


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
    *,
    together: bool = False,
) -> list[DetectedLanguage]:
    """Return the language and adapter of each text, without a checkpoint.

    Parameters
    ----------
    texts : str or sequence of str
    candidates : str or collection of str, optional
        Possible languages, as any tags; by default the 81 of ColBERT-XM.
    detector : str, callable or LanguageDetector
        As for `make_detector`.
    together : bool
        The texts are of one collection: what it is written in decides where a text says little.

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
    >>> titles = ["Bolsa de couro feminina", "Cinto", "Tênis de corrida", "Meias"]
    >>> [found.language for found in detect_languages(titles, together=True)]
    ['pt', 'pt', 'pt', 'pt']
    """
    table = AdapterTable(ADAPTERS, "en_XX")
    tags = [candidates] if isinstance(candidates, str) else ordered(candidates or ())
    allowed = tuple(dict.fromkeys(map(table.resolve, tags)))
    given, made = list_of_strings(texts, "texts", in_order=True), make_detector(detector)
    found = CollectionLanguages(made, allowed).detect(given) if together else made.detect(given, allowed)
    return [DetectedLanguage(each.language, table.adapter_for(each.language), each.confidence) for each in found]


def list_of_strings(given: str | Iterable[str], name: str, *, in_order: bool = False) -> list[str]:
    """Return one string or several as a list; `name` is the parameter's name in messages.

    Raises
    ------
    InputError
        If they are not strings; with `in_order`, if they are a set or a mapping.
    """
    if in_order and isinstance(given, (Set, Mapping)) and not isinstance(given, (KeysView, ItemsView)):
        raise InputError(f"{name} is a {type(given).__name__}: give a list of strings, or one string.")
    listed = [given] if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) else list(given)
    for each in listed:
        if not isinstance(each, str):
            raise InputError(f"{name} has {each!r}: give a list of strings, or one string.")
    return listed
