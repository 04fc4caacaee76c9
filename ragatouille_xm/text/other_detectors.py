"""Other language detectors: langdetect, and a user's function."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from ..languages import match, to_adapter
from .detector import Detector, labels_for, visible_prefix
from .mixed import readings
from .prior import Evidence
from .scripts import written_in

logger = logging.getLogger(__name__)

_loading = Lock()


class LangdetectDetector(Detector):
    """langdetect, for compatibility: 55 languages, slower and less accurate. Deterministic, since it is seeded.

    A text without letters, one it cannot place, and one that is not in the script of its answer (it takes Georgian for
    Estonian) say nothing.

    Parameters
    ----------
    languages, fallback
        All languages that may be returned, and one for undetectable text. Both optional.
    """

    def evidence(self, texts: Sequence[str], allowed: tuple[str, ...]) -> list[Evidence]:
        """Return what each text says about its language, one of `allowed`."""
        return [self._evidence(visible_prefix(text), allowed) for text in texts]

    def _evidence(self, text: str, allowed: tuple[str, ...]) -> Evidence:
        from langdetect.lang_detect_exception import LangDetectException

        with _loading:
            factory = _langdetect_factory()
        found = readings(text)
        if not found:
            return self.inconclusive(None, allowed)
        [script, text], *_ = found
        fitting = written_in(script, allowed)
        language_of = labels_for(tuple(factory.get_lang_list()), allowed)
        probable: list[Any] = []
        if language_of:
            detector = factory.create()
            detector.set_prior_map(dict.fromkeys(language_of, 1.0))
            detector.append(text)
            try:
                probable = detector.get_probabilities()
            except LangDetectException:  # no known features in the text
                probable = []
        likelihoods = {language_of[each.lang]: math.log(each.prob) for each in probable}
        likelihoods = {language: value for language, value in likelihoods.items() if language in fitting}
        return Evidence(likelihoods) if likelihoods else self.inconclusive(script, allowed)


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
        cannot tell. The collection can overrule an answer of which it is not sure. If it raises, or its answer is not a
        language, the text says nothing, with one warning per batch.
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

    def evidence(self, texts: Sequence[str], allowed: tuple[str, ...]) -> list[Evidence]:
        """Return what the function says of each text, one of `allowed`."""
        result, failures = [], []
        for text in texts:
            try:
                found = self._ask(text, allowed)
            except Exception as error:  # a user's function may raise anything
                failures.append(error)
                found = None
            if found is None:
                scripts = [reading.script for reading in readings(visible_prefix(text))]
                found = self.inconclusive(scripts[0] if scripts else None, allowed)
            result.append(found)
        if failures:
            logger.warning(
                "The language detector failed on %d of %d texts, which use the fallback; the first: %s: %s",
                len(failures), len(texts), type(failures[0]).__name__, failures[0],
            )  # fmt: skip
        return result

    def _ask(self, text: str, allowed: tuple[str, ...]) -> Evidence | None:
        answer = self.fn(text)
        tag, confidence = answer if isinstance(answer, tuple) else (answer, 1.0)
        if tag is None or tag in ("", "und"):
            return None
        if not isinstance(tag, str) or (to_adapter(tag) is None and match(tag, allowed) is None):
            raise ValueError(f"its answer {tag!r} is not a known language")
        sure = float(confidence)
        if not 0 <= sure <= 1:
            raise ValueError(f"its confidence {confidence!r} is not between 0 and 1")
        language = match(tag, allowed)
        if language is None or sure == 0:
            return None
        others = [each for each in allowed if each != language] if sure < 1 else []
        rest = {each: math.log((1 - sure) / len(others)) for each in others}
        return Evidence({**rest, language: math.log(sure)})
