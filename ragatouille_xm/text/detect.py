"""Which language a text is in, among those that may be answered.

The default, `Py3LangIdDetector`, lets the script decide as far as it can and a naive Bayes model over byte n-grams
(py3langid) choose among the languages of that script. ``benchmarks/languages.py`` compares it with langdetect.
"""

from __future__ import annotations

import copy
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..errors import InputError
from ..languages import ADAPTERS, LANGUAGES, AdapterTable, match, to_adapter
from ..types import Detection
from .scripts import han_characters, main_script, written_in

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

logger = logging.getLogger(__name__)

MAX_CHARACTERS = 300  # more does not make detection better, only slower
MIN_CONFIDENCE = 0.2  # below, most texts are names, products and code
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


class _Detector:
    """What all detectors share: which languages may be answered, and what happens when a text does not decide.

    Parameters
    ----------
    languages : collection of str, optional
        All that may ever be answered; by default the 81 of `ragatouille_xm.languages`, or whatever the candidates say.
    fallback : str, optional
        For undetectable text, when neither the hint nor the script decides.
    """

    def __init__(self, languages: Collection[str] | None = None, fallback: str | None = None) -> None:
        self.languages = _ordered(languages) if languages else None
        self.fallback = fallback

    def _allowed(self, candidates: Collection[str] | None) -> tuple[str, ...]:
        every = self.languages or LANGUAGES
        if not candidates:
            return every
        ordered = _ordered(candidates)
        if self.languages is None:
            return ordered
        return tuple(language for language in ordered if language in every) or every

    def _fall_back(self, script: str | None, allowed: tuple[str, ...], hint: str | None) -> Detection:
        """Choose for a text that does not decide: the first of these that may be answered and has the text's script."""
        fitting = (written_in(script, allowed) if script else ()) or allowed
        for choice in (hint, _SCRIPT_DEFAULT.get(script or ""), self.fallback, "en"):
            if choice in fitting:
                return Detection(choice, 0.0)
        return Detection(fitting[0], 0.0)


class Py3LangIdDetector(_Detector):
    """Script first, then py3langid among the languages of that script; the default. Deterministic, offline.

    Rules, in order, over the first 300 characters without web and e-mail addresses:

    1. Without letters: the fallback (the hint, the detector's own fallback, English, the first candidate).
    2. One candidate is written in the script: it. None is: the fallback.
    3. Kana makes a text Japanese. Han without kana is Japanese if a character is used in Japan alone, or if the hint
       says so and no character speaks against it; otherwise Chinese, simplified or traditional by the characters that
       only one of GB 2312 and Big5 has.
    4. py3langid's probabilities over the candidates of the script and "no language". If that wins, or less than 0.2 is
       left for the best: the hint if it is written in the script, the script's most used language, then as in 1.

    Parameters
    ----------
    languages, fallback
        All languages that may ever be answered, and one for undetectable text. Both optional.

    Examples
    --------
    >>> detector = Py3LangIdDetector()
    >>> [d.language for d in detector.detect(["Où est la gare ?", "駅はどこですか", "图书馆在哪里", "圖書館在哪裡"])]
    ['fr', 'ja', 'zh', 'zh-TW']
    >>> detector.detect(["12:30"], candidates=["fr", "de"], hint="de")
    [Detection(language='de', confidence=0.0)]
    """

    def __init__(self, languages: Collection[str] | None = None, fallback: str | None = None) -> None:
        super().__init__(languages, fallback)
        self._identifier = lru_cache(maxsize=8)(_restricted)  # about 10 MB for all Latin-script languages

    def detect(
        self, texts: Sequence[str], candidates: Collection[str] | None = None, hint: str | None = None
    ) -> list[Detection]:
        """Return the language of each text; see `LanguageDetector.detect`."""
        allowed = self._allowed(candidates)
        return [self._detect(text, allowed, hint) for text in texts]

    def _detect(self, text: str, allowed: tuple[str, ...], hint: str | None) -> Detection:
        text = _prefix(text)
        script = main_script(text)
        if script is None:
            return self._fall_back(None, allowed, hint)
        fitting = written_in(script, allowed)
        if len(fitting) == 1:
            return Detection(fitting[0], 1.0)
        if not fitting:
            return self._fall_back(script, allowed, hint)
        if script == "Hani":
            return self._detect_han(text, fitting, hint)
        return self._detect_by_model(text, script, fitting, hint) or self._fall_back(script, allowed, hint)

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
        identifier, language_of = self._identifier(fitting)
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
        if confidence[best] < MIN_CONFIDENCE or nothing > confidence[best]:
            return None
        return Detection(best, confidence[best])


_NO_LANGUAGE = "zxx"
_loading = Lock()


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _restricted(languages: tuple[str, ...]) -> tuple[LanguageIdentifier, dict[str, str]]:
    """Return py3langid for some languages only, and which of them each of its labels means."""
    with _loading:
        base = _identifier()
    language_of = _labels_for(tuple(base.labels), languages)
    identifier = copy.copy(base)  # shares the automaton; set_languages replaces only the copy's own weights
    identifier.set_languages([*language_of, _NO_LANGUAGE])
    return identifier, language_of


class LangdetectDetector(_Detector):
    """langdetect, which knows 55 languages: slower and less accurate, for compatibility. Seeded, hence deterministic.

    Only languages that it knows can be answered by detection; text in others, and text that it cannot read, falls back
    as in `Py3LangIdDetector`.

    Parameters
    ----------
    languages, fallback
        All languages that may ever be answered, and one for undetectable text. Both optional.
    """

    def detect(
        self, texts: Sequence[str], candidates: Collection[str] | None = None, hint: str | None = None
    ) -> list[Detection]:
        """Return the language of each text; see `LanguageDetector.detect`."""
        allowed = self._allowed(candidates)
        return [self._detect(text, allowed, hint) for text in texts]

    def _detect(self, text: str, allowed: tuple[str, ...], hint: str | None) -> Detection:
        from langdetect.lang_detect_exception import LangDetectException

        with _loading:
            factory = _langdetect_factory()
        text = _prefix(text)
        language_of = _labels_for(tuple(factory.get_lang_list()), allowed)
        if language_of:
            detector = factory.create()
            detector.set_prior_map(dict.fromkeys(language_of, 1.0))
            detector.append(text)
            try:
                probable = detector.get_probabilities()
            except LangDetectException:  # nothing in the text that it knows
                probable = []
            if probable:
                return Detection(language_of[probable[0].lang], min(float(probable[0].prob), 1.0))
        return self._fall_back(main_script(text), allowed, hint)


@lru_cache(maxsize=1)
def _langdetect_factory() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()  # our own: the package's is shared by the whole process, and so would be its seed
    profiles = sorted(path for path in Path(PROFILES_DIRECTORY).iterdir() if not path.name.startswith((".", "_")))
    factory.load_json_profile([path.read_text(encoding="utf-8") for path in profiles])
    factory.set_seed(0)
    return factory


class CallableDetector(_Detector):
    """A function of yours as a detector.

    Parameters
    ----------
    fn : callable
        From a text to a language tag (BCP-47, in any common spelling), or to ``(tag, confidence)``, or to None where
        it cannot tell. When it raises, or its answer is not a language, the text falls back as in
        `Py3LangIdDetector`, with one warning for a batch.
    languages, fallback
        As for `Py3LangIdDetector`.

    Examples
    --------
    >>> CallableDetector(lambda text: "pt_BR").detect(["Olá"])
    [Detection(language='pt', confidence=1.0)]
    """

    def __init__(
        self, fn: Callable[[str], object], languages: Collection[str] | None = None, fallback: str | None = None
    ) -> None:
        super().__init__(languages, fallback)
        self.fn = fn

    def detect(
        self, texts: Sequence[str], candidates: Collection[str] | None = None, hint: str | None = None
    ) -> list[Detection]:
        """Return the language of each text; see `LanguageDetector.detect`."""
        allowed = self._allowed(candidates)
        result, failures = [], []
        for text in texts:
            try:
                found = self._ask(text, allowed)
            except Exception as error:  # whatever a user's function may raise
                failures.append(error)
                found = None
            result.append(found or self._fall_back(main_script(_prefix(text)), allowed, hint))
        if failures:
            logger.warning(
                "The language detector failed on %d of %d texts, which take the fallback; the first: %s: %s",
                len(failures), len(texts), type(failures[0]).__name__, failures[0],
            )  # fmt: skip
        return result

    def _ask(self, text: str, allowed: tuple[str, ...]) -> Detection | None:
        answer = self.fn(text)
        tag, confidence = answer if isinstance(answer, tuple) else (answer, 1.0)
        if tag is None or tag in ("", "und"):
            return None
        if not isinstance(tag, str) or (to_adapter(tag) is None and match(tag, allowed) is None):
            raise ValueError(f"its answer {tag!r} is not a known language")
        language = match(tag, allowed)
        return None if language is None else Detection(language, float(confidence))


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
        All languages that may ever be answered.

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
    if isinstance(spec, LanguageDetector):
        return spec
    if callable(spec):
        return CallableDetector(spec, languages)
    names = " or ".join(f'"{name}"' for name in _DETECTORS)
    raise InputError(f"language_detector={spec!r} is not known. Use {names}, or a function from a text to a code.")


def detect_languages(
    texts: str | Sequence[str],
    candidates: Collection[str] | None = None,
    detector: str | Callable[[str], object] | LanguageDetector = "py3langid",
) -> list[Detection]:
    """Return the language of each text, without a checkpoint.

    Parameters
    ----------
    texts : str or sequence of str
    candidates : collection of str, optional
        The languages that may be answered, as any tags; by default the 81 of ColBERT-XM.
    detector : str, callable or LanguageDetector
        As for `make_detector`.

    Raises
    ------
    LanguageError
        If a candidate is not a language.

    Examples
    --------
    >>> detect_languages("Gdzie jest biblioteka?")[0].language
    'pl'
    """
    table = AdapterTable(ADAPTERS, "en_XX")
    allowed = None if candidates is None else tuple(dict.fromkeys(table.resolve(tag) for tag in _ordered(candidates)))
    return make_detector(detector).detect([texts] if isinstance(texts, str) else texts, allowed)


def _prefix(text: str) -> str:
    """Return the part of a text that is looked at."""
    first = _LETTER.search(text, 0, 100 * MAX_CHARACTERS)
    start = first.start() if first else 0
    if start < MAX_CHARACTERS:
        start = 0  # a few digits and marks at the head do no harm
    text = text[start : start + 4 * MAX_CHARACTERS]  # so that addresses can go and enough is left
    if "://" in text or "@" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    return text[:MAX_CHARACTERS]


def _ordered(languages: Collection[str]) -> tuple[str, ...]:
    """Return languages in their order, or sorted where they have none."""
    return tuple(languages) if isinstance(languages, (Sequence, dict)) else tuple(sorted(languages))


@lru_cache(maxsize=32)
def _labels_for(labels: tuple[str, ...], languages: tuple[str, ...]) -> dict[str, str]:
    """Return, of a detector's labels, those that mean one of `languages`, and which."""
    found = {label: match(label, languages, nearest=False) for label in labels if label != _NO_LANGUAGE}
    return {label: language for label, language in found.items() if language is not None}
