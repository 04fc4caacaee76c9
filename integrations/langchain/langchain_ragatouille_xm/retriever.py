"""`RagatouilleXMRetriever`: an index of ragatouille_xm as a LangChain retriever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForRetrieverRun,
    CallbackManager,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, run_in_executor
from pydantic import ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from ragatouille_xm.config import LANGUAGE_WEIGHT, LEXICAL_WEIGHT
from ragatouille_xm.corpus.filters import METADATA_FIRST, parse_filter, rename_fields
from ragatouille_xm.queries import check_context, check_k
from ragatouille_xm.searchable import Searchable

from .document import found_document

Manager = TypeVar("Manager", CallbackManager, AsyncCallbackManager)


class RagatouilleXMRetriever(BaseRetriever):
    """Finds passages of an index by late interaction, encoding the query through its own language's adapter.

    Documents are plain LangChain documents. They carry the metadata they were indexed with and, unless it has such a
    key itself, ``document_id``, ``passage_id`` and ``language``. A document's ``id`` is that of the passage and stable;
    found by several queries it is equal, so LangChain merges it. All fields except `model` can be given per call, as in
    ``invoke(query, k=3, filter={"year": 2024})``, and made configurable. Copies share the model.

    Parameters
    ----------
    model : RAGPretrainedModel or RAGClient
        On this machine, or behind a service (`ragatouille_xm.client`).
    index_name : str, optional
        By default the model's current index when the retriever is created.
    k : int
        Number of documents to return.
    filter : dict, optional
        Applied before the best `k` are selected: ``{"year": {"$gte": 2020}, "passage.language": "fr"}``. Every bare
        name is a metadata key, also ``language`` and ``document_id``; see `ragatouille_xm.corpus.filters`.
    language : str, optional
        Language of the queries; by default detected.
    min_score : float, optional
        Omit documents that score less.
    min_relevance : float, optional
        Omit documents that are less relevant, 0 to 1.
    prefer_language : str, optional
        Put documents in this language first, or with ``"query"`` those in the language of each query.
    language_weight : float
        How much that counts: 0 nothing, 1 before all others.
    doc_ids : str or list of str, optional
        Search only these documents.
    exact : bool
        Score every passage.
    force_fast : bool
        Score fewer candidates.
    hybrid : bool
        Rank by MaxSim and, with the weight `lexical_weight`, by the words that query and passage share.
    lexical_weight : float
        0 ranks by MaxSim alone, 1 by shared words alone; counts with `hybrid`.
    with_scores : bool
        Put ``score`` (MaxSim; 0 to 1 with `hybrid`), ``rank``, ``relevance`` (0 to 1) and ``query_language``, whose
        adapter the query went through, into the metadata too. They depend on the query, so a document found by several
        queries is then several documents to LangChain.
    explain : bool
        Put ``evidence`` into the metadata too: which words of the passage matched, where they stand in its text, and
        which sentences answer best. See `ragatouille_xm.evidence.Evidence.as_dict`. It depends on the query as well.
    context : int
        Let the content of a document be the passage with so many before and after it, as one text; the passage alone is
        in the metadata, as ``passage``.
    group_by_document : bool
        Find the best passage of each of `k` documents. The texts of its others that were found are in the metadata, as
        ``other_passages``; they depend on the query too.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: if a field is invalid.

    Examples
    --------
    >>> from ragatouille_xm import RAGPretrainedModel
    >>> RAG = RAGPretrainedModel.from_index(".ragatouille/colbert/indexes/news")  # doctest: +SKIP
    >>> retriever = RagatouilleXMRetriever(model=RAG, k=3)  # doctest: +SKIP
    >>> [document.page_content for document in retriever.invoke("Où est la gare ?")]  # doctest: +SKIP
    ['La gare est derrière le marché.', …]
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: SkipJsonSchema[Searchable] = Field(exclude=True, repr=False)
    index_name: str | None = None
    k: int = 10
    filter: dict[str, Any] | None = None
    language: str | None = None
    min_score: float | None = None
    min_relevance: float | None = None
    prefer_language: str | None = None
    language_weight: float = LANGUAGE_WEIGHT
    doc_ids: str | list[str] | None = None
    exact: bool = False
    force_fast: bool = False
    hybrid: bool = False
    lexical_weight: float = LEXICAL_WEIGHT
    with_scores: bool = False
    explain: bool = False
    context: int = 0
    group_by_document: bool = False

    @field_validator("model", mode="before")
    @classmethod
    def _check_model(cls, model: Any) -> Any:
        if not isinstance(model, Searchable):
            raise ValueError(f"model is a {type(model).__name__}; give a RAGPretrainedModel or a RAGClient.")
        return model

    @field_validator("k", mode="before")
    @classmethod
    def _check_k(cls, k: Any) -> Any:
        check_k(k)
        return k

    @field_validator("context", mode="before")
    @classmethod
    def _check_context(cls, context: Any) -> Any:
        check_context(context)
        return context

    @field_validator("filter", mode="before")
    @classmethod
    def _check_filter(cls, filter: Any) -> Any:
        parse_filter(filter)
        return filter

    def model_post_init(self, context: Any) -> None:
        """Bind to the current index, whatever the model opens later."""
        super().model_post_init(context)
        if self.index_name is None:
            self.index_name = self.model.current_index

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return self._search([query], options)[0]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        return (await run_in_executor(None, self._search, [query], options))[0]

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Search for all `inputs` in one pass through the model; callbacks see a run for each."""
        runs = [
            self._manager(CallbackManager, each, kwargs).on_retriever_start(None, query, **self._run(each))
            for query, each in zip(inputs, get_config_list(config, len(inputs)), strict=True)
        ]
        outcomes = self._outcomes(inputs, kwargs)
        for run, outcome in zip(runs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                run.on_retriever_error(outcome)
            else:
                run.on_retriever_end(outcome)
        return _raise_first(outcomes, return_exceptions)

    async def abatch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Run `batch` in a thread."""
        runs = [
            await self._manager(AsyncCallbackManager, each, kwargs).on_retriever_start(None, query, **self._run(each))
            for query, each in zip(inputs, get_config_list(config, len(inputs)), strict=True)
        ]
        outcomes = await run_in_executor(None, self._outcomes, inputs, kwargs)
        for run, outcome in zip(runs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                await run.on_retriever_error(outcome)
            else:
                await run.on_retriever_end(outcome)
        return _raise_first(outcomes, return_exceptions)

    def _search(self, queries: Sequence[str], options: dict[str, Any]) -> list[list[Document]]:
        """Return the documents for each query; `options` override fields."""
        if not queries:
            return []
        settings = {**self._fields(), **_search_options(options)}
        with_scores = settings.pop("with_scores")
        settings["filter"] = rename_fields(settings["filter"], METADATA_FIRST)
        found = cast("list[list[dict[str, Any]]]", self.model.search(list(queries), **settings))
        return [[found_document(result, with_scores) for result in results] for results in found]

    def _outcomes(self, queries: Sequence[str], options: dict[str, Any]) -> list[list[Document] | Exception]:
        """Search for all queries together; if that fails, for each alone, with its documents or exception."""
        try:
            return list(self._search(queries, options))
        except Exception as error:
            if len(queries) == 1:
                return [error]
            return [self._outcomes([query], options)[0] for query in queries]

    def _fields(self) -> dict[str, Any]:
        names = (
            "index_name", "k", "filter", "language", "min_score", "min_relevance", "prefer_language", "language_weight",
            "doc_ids", "exact", "force_fast", "with_scores", "explain", "hybrid", "lexical_weight", "context",
            "group_by_document",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def _manager(self, kind: type[Manager], config: RunnableConfig, options: dict[str, Any]) -> Manager:
        return kind.configure(
            config.get("callbacks"),
            None,
            verbose=options.get("verbose", False),
            inheritable_tags=config.get("tags"),
            local_tags=self.tags,
            inheritable_metadata={**(config.get("metadata") or {}), **self._get_ls_params(**options)},
            local_metadata=self.metadata,
        )

    def _run(self, config: RunnableConfig) -> dict[str, Any]:
        return {"name": config.get("run_name") or self.get_name(), "run_id": config.get("run_id")}

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        return LangSmithRetrieverParams(
            ls_retriever_name="ragatouille_xm",
            ls_vector_store_provider="ragatouille_xm",
            ls_embedding_provider="ragatouille_xm",
            ls_embedding_model=self.model.model_name,
        )


def _search_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a call without those of the framework."""
    return {key: value for key, value in options.items() if key not in ("verbose", "run_id")}


def _raise_first(outcomes: list[Any], return_exceptions: bool) -> list[Any]:
    failed = next((outcome for outcome in outcomes if isinstance(outcome, Exception)), None)
    if failed is not None and not return_exceptions:
        raise failed
    return outcomes
