"""The retriever of a `RagatouilleXMIndex`: passages in the index, whole nodes in the document store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import BaseNode, NodeWithScore
from llama_index.core.storage.docstore.types import BaseDocumentStore

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError

from .filters import Filters, compile_filters
from .nodes import NAMES, REF_DOC_ID, best_nodes
from .retriever import RagatouilleXMRetriever, restrict_to

logger = logging.getLogger(__name__)

RETRIEVER_OPTIONS = (
    "similarity_top_k", "filters", "doc_ids", "language", "min_score", "prefer_language", "language_weight", "exact",
    "explain", "callback_manager", "object_map", "objects", "verbose",
)  # fmt: skip


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
        A `ValueError`: if a parameter is invalid, or `explain` is given.
    """

    def __init__(
        self, model: RAGPretrainedModel, index_name: str, *, docstore: BaseDocumentStore, **options: Any
    ) -> None:
        if options.get("explain"):
            raise InputError(
                "explain= says where words stand in a passage, and this retriever returns whole nodes. Use "
                "RagatouilleXMRetriever on the same index."
            )
        self._docstore = docstore
        super().__init__(model, index_name, **options)

    def _restrict(self, filters: Filters, doc_ids: list[str] | None) -> dict[str, Any] | None:
        return restrict_to(compile_filters(filters, NAMES), REF_DOC_ID, doc_ids)

    def _find(self, query: str) -> list[NodeWithScore]:
        n_missing = 0

        def nodes_of(best: Mapping[str, dict[str, Any]]) -> list[BaseNode]:
            nonlocal n_missing
            nodes = self._docstore.get_nodes(list(best), raise_error=False)
            n_missing = len(best) - len(nodes)
            return nodes

        found = best_nodes(lambda n: self._search(query, n), nodes_of, self.similarity_top_k)
        if n_missing:
            logger.warning("%d nodes of the index are not in the document store", n_missing)
        return found
