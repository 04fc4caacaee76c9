"""Other language detectors: langdetect, and a user's function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from ..languages import match, to_adapter
from ..types import Detection
from .detector import Detector, labels_for, visible_prefix
from .scripts import main_script, written_in

logger = logging.getLogger(__name__)

_loading = Lock()


class LangdetectDetector(Detector):
    """langdetect, for compatibility: 55 languages, slower and less accurate. Deterministic, since it is seeded.

    A text without letters, one it cannot place, and one that is not in the script of its answer (it takes Georgian for
    Estonian) fall back as in `Py3LangIdDetector`.

    Parameters
    ----------
    languages, fallback
        All languages that may be returned, and one for undetectable text. Both optional.
    """

    def detect(
        self, texts: Sequence[str], candidates: Collection[str] | None = None, hint: str | None = None
    ) -> list[Detection]:
        """Return the language of each text; see `LanguageDetector.detect`."""
        allowed = self.allowed(candidates)
        return [self._detect(text, allowed, hint) for text in texts]

    def _detect(self, text: str, allowed: tuple[str, ...], hint: str | None) -> Detection:
        from langdetect.lang_detect_exception import LangDetectException

        with _loading:
            factory = _langdetect_factory()
        text = visible_prefix(text)
        script = main_script(text)
        language_of = labels_for(tuple(factory.get_lang_list()), allowed)
        if script and language_of:
            detector = factory.create()
            detector.set_prior_map(dict.fromkeys(language_of, 1.0))
            detector.append(text)
            try:
                probable = detector.get_probabilities()
            except LangDetectException:  # no known features in the text
                probable = []
            language = language_of[probable[0].lang] if probable else ""
            if language in written_in(script, allowed):
                return Detection(language, min(float(probable[0].prob), 1.0))
        return self.fall_back(script, allowed, hint)


@lru_cache(maxsize=1)
def _langdetect_factory() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()  # our own: the package's factory and its seed are shared by the whole process
    profiles = sorted(path for path in Path(PROFILES_DIRECTORY).iterdir() if not path.name.startswith((".", "_")))
    factory.load_json_profile([path.read_text(encoding="utf-8") for path in profiles])
    factory.set_seed(0)
    return factory


class CallableDetector(Detector):
    """A user's function as a detector.

    Parameters
    ----------
    fn : callable
        From a text to a language tag (BCP-47, in any common spelling), to ``(tag, confidence)``, or to None if it
        cannot tell. If it raises, or its answer is not a language, the text falls back as in `Py3LangIdDetector`, with
        one warning per batch.
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
        allowed = self.allowed(candidates)
        result, failures = [], []
        for text in texts:
            try:
                found = self._ask(text, allowed)
            except Exception as error:  # a user's function may raise anything
                failures.append(error)
                found = None
            result.append(found or self.fall_back(main_script(visible_prefix(text)), allowed, hint))
        if failures:
            logger.warning(
                "The language detector failed on %d of %d texts, which use the fallback; the first: %s: %s",
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
