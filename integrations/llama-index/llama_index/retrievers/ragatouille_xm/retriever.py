"""`RagatouilleXMRetriever`: an index of ragatouille_xm as a LlamaIndex retriever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import (
    IndexNode,
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.settings import Settings

from ragatouille_xm.config import LANGUAGE_WEIGHT, LEXICAL_WEIGHT
from ragatouille_xm.errors import InputError
from ragatouille_xm.grouping import with_context
from ragatouille_xm.queries import check_context, check_k, check_share, with_ids
from ragatouille_xm.searchable import Searchable

from .filters import Filters, compile_filters

OWN_KEYS = ("document_id", "passage_id", "language")


class RagatouilleXMRetriever(BaseRetriever):
    """Finds passages of an index by late interaction, encoding the query through its own language's adapter.

    Each node is a passage. Its ``node_id`` is unique and stable; its SOURCE is the document. It carries the document's
    metadata and, unless that has such a key itself, ``document_id``, ``passage_id`` and ``language``, which are hidden
    from the LLM and from embedding models. Its score is the relevance, 0 to 1: how likely it answers the query, which
    cutoffs and fusion can compare between queries; with `hybrid` it is that of the hybrid search. Copies share the
    model.

    Parameters
    ----------
    model : RAGPretrainedModel or RAGClient
        On this machine, or behind a service (`ragatouille_xm.client`).
    index_name : str, optional
        By default the model's current index when the retriever is created.
    similarity_top_k : int
        Number of nodes to return; assignable.
    filters : MetadataFilters or mapping, optional
        Applied before the best are selected; may be nested. A mapping has the syntax of
        `ragatouille_xm.corpus.filters`: ``{"year": {"$gte": 2020}}``. Keys are metadata, also ``language`` and
        ``document_id``; ``passage.language`` is the language that the passage has in the index.
    doc_ids : str or list of str, optional
        Search only these documents.
    language : str, optional
        Language of the queries; by default detected.
    min_score : float, optional
        Omit nodes that score less, 0 to 1.
    prefer_language : str, optional
        Put passages in this language first, or with ``"query"`` those in the language of each query. Scores stay what
        they are, so that they need not fall from node to node.
    language_weight : float
        How much that counts: 0 nothing, 1 before all others.
    exact : bool
        Score every passage.
    explain : bool
        Put ``evidence`` into the metadata too: which words of the passage matched, where they stand in its text, and
        which sentences answer best. See `ragatouille_xm.evidence.Evidence.as_dict`.
    hybrid : bool
        Rank by MaxSim and, with the weight `lexical_weight`, by the words that query and passage share.
    lexical_weight : float
        0 ranks by MaxSim alone, 1 by shared words alone; counts with `hybrid`.
    context : int
        Let the text of a node be the passage with so many before and after it, as one; the passage alone is in the
        metadata, as ``passage``.
    group_by_document : bool
        Find the best passage of each of `similarity_top_k` documents. The texts of its others that were found are in
        the metadata, as ``other_passages``.
    callback_manager : CallbackManager, optional
        By default ``Settings.callback_manager``.
    object_map : dict, optional
        From document ids to objects that replace their passages: a query engine, a retriever, a node.
    objects : list of IndexNode, optional
        The same, as LlamaIndex nodes.
    verbose : bool
        Print which objects are entered.

    Raises
    ------
    ragatouille_xm.errors.InputError
        A `ValueError`: if a parameter is invalid. `retrieve` raises it for a blank query or a deleted index.

    Examples
    --------
    >>> from ragatouille_xm import RAGPretrainedModel
    >>> RAG = RAGPretrainedModel.from_index(".ragatouille/colbert/indexes/news")  # doctest: +SKIP
    >>> retriever = RagatouilleXMRetriever(RAG, similarity_top_k=3)  # doctest: +SKIP
    >>> [node.text for node in retriever.retrieve("Où est la gare ?")]  # doctest: +SKIP
    ['La gare est derrière le marché.', …]
    """

    def __init__(
        self,
        model: Searchable,
        index_name: str | None = None,
        similarity_top_k: int = 10,
        *,
        filters: Filters = None,
        doc_ids: str | Sequence[str] | None = None,
        language: str | None = None,
        min_score: float | None = None,
        prefer_language: str | None = None,
        language_weight: float = LANGUAGE_WEIGHT,
        exact: bool = False,
        explain: bool = False,
        hybrid: bool = False,
        lexical_weight: float = LEXICAL_WEIGHT,
        context: int = 0,
        group_by_document: bool = False,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        if not isinstance(model, Searchable):
            raise InputError(
                f"model is a {type(model).__name__}; give a ragatouille_xm.RAGPretrainedModel or a RAGClient."
            )
        self._model = model
        self._index_name = index_name if index_name is not None else model.current_index
        self.similarity_top_k = similarity_top_k
        self._options: dict[str, Any] = {
            "filter": self._restrict(filters, doc_ids),
            "language": language,
            "prefer_language": prefer_language,
            "language_weight": language_weight,
            "exact": exact,
            "explain": explain,
            "hybrid": hybrid,
            "lexical_weight": lexical_weight,
            "context": context,
            "group_by_document": group_by_document,
        }
        check_context(context)
        self._score = "score" if hybrid else "relevance"
        if min_score is not None:
            check_share(min_score, "min_score")
        self._min_score = min_score
        super().__init__(
            callback_manager=callback_manager or Settings.callback_manager,
            object_map=object_map,
            objects=objects,
            verbose=verbose,
        )

    @property
    def similarity_top_k(self) -> int:
        """Number of nodes to return."""
        return self._similarity_top_k

    @similarity_top_k.setter
    def similarity_top_k(self, similarity_top_k: int) -> None:
        check_k(similarity_top_k, "similarity_top_k")
        self._similarity_top_k = similarity_top_k

    def _restrict(self, filters: Filters, doc_ids: str | Sequence[str] | None) -> Mapping[str, Any] | None:
        """Return the filter of every search."""
        return with_ids(compile_filters(filters), doc_ids)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._find(query_text(query_bundle))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._find, query_text(query_bundle))

    def _find(self, query: str) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=self._node(result), score=result[self._score])
            for result in self._search(query, self.similarity_top_k)
        ]

    def _search(self, query: str, k: int) -> list[dict[str, Any]]:
        found = self._model.search(query, index_name=self._index_name, k=k, **self._options)
        return at_least(self._min_score, cast("list[dict[str, Any]]", found), self._score)

    def _node(self, result: dict[str, Any]) -> TextNode:
        metadata = result.get("document_metadata", {})
        document_id = result["document_id"]
        own = {key: result[key] for key in OWN_KEYS}
        if "evidence" in result:
            own["evidence"] = result["evidence"].as_dict()
        if "context_before" in result:
            own["passage"] = result["content"]
        if "other_passages" in result:
            own["other_passages"] = [each["content"] for each in result["other_passages"]]
        own = {key: value for key, value in own.items() if key not in metadata}
        source = RelatedNodeInfo(node_id=document_id, node_type=ObjectType.DOCUMENT, metadata=dict(metadata))
        fields: dict[str, Any] = {
            "id_": _node_id(result),
            "text": with_context(result),
            "metadata": {**metadata, **own},
            "excluded_llm_metadata_keys": list(own),
            "excluded_embed_metadata_keys": list(own),
            "relationships": {NodeRelationship.SOURCE: source},
        }
        return IndexNode(index_id=document_id, **fields) if document_id in self.object_map else TextNode(**fields)


def _node_id(result: dict[str, Any]) -> str:
    """Return a UUID that is unique among passages, across indexes."""
    what = [result["document_id"], result["passage_id"], result["content"]]
    return str(uuid5(NAMESPACE_URL, f"ragatouille_xm:{json.dumps(what)}"))


def query_text(query: QueryBundle) -> str:
    """Return the text to search for: the strings that a query transform wants embedded, or the query itself.

    Several strings become one query: the MaxSim scores of their tokens add up, like averaged embeddings elsewhere.
    """
    return "\n".join(query.embedding_strs)


def at_least(min_score: float | None, results: list[dict[str, Any]], key: str = "relevance") -> list[dict[str, Any]]:
    """Return the results of one query whose relevance, or what `key` names, is not less."""
    return [result for result in results if min_score is None or result[key] >= min_score]


def cannot_be_pickled(what: object) -> InputError:
    """Return the error for pickling `what`, which holds a model."""
    return InputError(f"A {type(what).__name__} cannot be pickled: make it again in the other process.")
