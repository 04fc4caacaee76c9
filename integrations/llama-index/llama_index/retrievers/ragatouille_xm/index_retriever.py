"""The retriever of a `RagatouilleXMIndex`: passages in the index, whole nodes in the document store."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.storage.docstore.types import BaseDocumentStore

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError
from ragatouille_xm.queries import with_ids

from .filters import Filters, compile_filters
from .nodes import NAMES, REF_DOC_ID, best_nodes
from .retriever import RagatouilleXMRetriever

logger = logging.getLogger(__name__)

RETRIEVER_OPTIONS = (
    "similarity_top_k", "filters", "doc_ids", "language", "min_score", "prefer_language", "language_weight", "exact",
    "explain", "hybrid", "lexical_weight", "context", "group_by_document", "callback_manager", "object_map", "objects",
    "verbose",
)  # fmt: skip
OF_PASSAGES = {
    "explain": "says where words stand in a passage",
    "context": "adds the passages around one",
    "group_by_document": "picks the best passage of each document",
}


class RagatouilleXMIndexRetriever(RagatouilleXMRetriever):
    """Finds nodes by their passages; a node is returned once, with its best passage's score.

    Parameters
    ----------
    model, index_name, **options
        As for `RagatouilleXMRetriever`.
    docstore : BaseDocumentStore
        Holds the nodes.

    Raises
    ------
    ragatouille_xm.errors.InputError
        A `ValueError`: if a parameter is invalid; if `explain`, `context` or `group_by_document` is given.
    """

    def __init__(
        self, model: RAGPretrainedModel, index_name: str, *, docstore: BaseDocumentStore, **options: Any
    ) -> None:
        for name, does in OF_PASSAGES.items():
            if options.get(name):
                raise InputError(
                    f"{name}= {does}, and this retriever returns whole nodes, each once. Use RagatouilleXMRetriever on "
                    "the same index."
                )
        self._docstore = docstore
        super().__init__(model, index_name, **options)

    def _restrict(self, filters: Filters, doc_ids: str | Sequence[str] | None) -> Mapping[str, Any] | None:
        return with_ids(compile_filters(filters, NAMES), doc_ids, field=REF_DOC_ID)

    def _find(self, query: str) -> list[NodeWithScore]:
        n_missing = 0

        def nodes_of(best: Mapping[str, dict[str, Any]]) -> list[BaseNode]:
            nonlocal n_missing
            nodes = self._docstore.get_nodes(list(best), raise_error=False)
            n_missing = len(best) - len(nodes)
            return nodes

        found = best_nodes(lambda n: self._search(query, n), nodes_of, self.similarity_top_k, self._score)
        if n_missing:
            logger.warning("%d nodes of the index are not in the document store", n_missing)
        return found
