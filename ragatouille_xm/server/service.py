"""The models and indexes behind a service: calls in threads, writes one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from ..errors import InputError
from ..pretrained import RAGPretrainedModel
from ..retriever import Retriever
from .problems import Problem
from .settings import ServerSettings

T = TypeVar("T")


class Service:
    """A model and the indexes that it serves.

    Parameters
    ----------
    model : RAGPretrainedModel
    indexes : sequence of str
        Names of indexes that the model has open. The first is the one that is searched if none is named.
    settings : ServerSettings
    """

    def __init__(self, model: RAGPretrainedModel, indexes: Sequence[str], settings: ServerSettings) -> None:
        if not indexes:
            raise InputError("There is no index to serve. Give at least one name.")
        self.model = model
        self.indexes = list(indexes)
        self.settings = settings
        self.ready = True
        for name in self.indexes:
            model.catalog.get(name)
        self._threads = CapacityLimiter(settings.threads)
        self._writing = {name: threading.Lock() for name in indexes}

    def index(self, name: str) -> Retriever:
        """Return an index. Raise `Problem` if it is not served."""
        if name not in self._writing:
            served = ", ".join(self.indexes)
            raise Problem(404, f"There is no index {name!r} here. There are: {served}.", error="IndexNotFoundError")
        return self.model.catalog.get(name)

    def rerank(self, queries: Any, documents: Sequence[str], k: int, **options: Any) -> Any:
        """Rank documents; their relevance is measured as the default index does, whichever others search meanwhile."""
        return self.model.rerank(queries, documents, k, index_name=next(iter(self.indexes), None), **options)

    def shown(self, message: str) -> str:
        """Return a message with the names of indexes for their folders and addresses, which are nobody's business."""
        for name in self.indexes:
            message = message.replace(self.model.catalog.place(name), name)
        return message

    @property
    def model_name(self) -> str:
        """The checkpoint's name, without the folders that it is in."""
        return Path(self.model.model_name).name

    def languages_of(self, texts: Sequence[str], given: str | Sequence[str | None] | None) -> list[str]:
        """Return the language of each text: as given, or detected."""
        languages = [given] * len(texts) if given is None or isinstance(given, str) else list(given)
        if len(languages) != len(texts):
            raise InputError(f"{len(texts)} texts came with {len(languages)} languages; give one for each, or one.")
        encoder = self.model.encoder
        detected = iter(encoder.detect([t for t, language in zip(texts, languages, strict=True) if language is None]))
        return [next(detected).language if each is None else encoder.adapters.resolve(each) for each in languages]

    async def read(self, function: Callable[[], T]) -> T:
        """Call a function in a thread. Raise `Problem` if it takes too long."""
        try:
            with anyio.fail_after(self.settings.timeout):
                return await to_thread.run_sync(function, abandon_on_cancel=True, limiter=self._threads)
        except TimeoutError as error:
            raise Problem(
                504, f"This took longer than {self.settings.timeout:g} seconds. Ask for less, or try again later."
            ) from error

    async def write(self, name: str, function: Callable[[], T]) -> T:
        """Call a function that changes an index in a thread, after those that came before.

        It is finished even if the client goes away, and the answer is given once it is on disk.
        """
        self.index(name)

        def locked() -> T:
            with self._writing[name]:
                return function()

        return await to_thread.run_sync(locked)  # a thread is waited for, unless it is said that it need not be

    def check_count(self, what: str, n: int, most: int | None = None) -> None:
        """Raise `Problem` if a request asks for more than the service allows."""
        most = self.settings.max_texts if most is None else most
        if n > most:
            raise Problem(413, f"There are {n} {what}; this service takes {most} in a request.")

    def check_k(self, k: int) -> None:
        """Raise `Problem` if a request asks for more results than the service gives."""
        if k > self.settings.max_k:
            raise Problem(413, f"k={k} is more than this service returns: {self.settings.max_k}.")
