"""The retriever of a `RagatouilleXMIndex`: passages in the index, whole nodes in the document store."""

from __future__ import annotations

import logging
from typing import Any

from llama_index.core.schema import NodeWithScore
from llama_index.core.storage.docstore.types import BaseDocumentStore

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.corpus.filters import METADATA_FIRST

from .filters import Filters, compile_filters
from .retriever import RagatouilleXMRetriever, restrict_to

logger = logging.getLogger(__name__)

RETRIEVER_OPTIONS = (
    "similarity_top_k", "filters", "doc_ids", "language", "min_score", "exact",
    "callback_manager", "object_map", "objects", "verbose",
)  # fmt: skip
REF_DOC_ID = "metadata.ref_doc_id"
NAMES = {**METADATA_FIRST, "doc_id": REF_DOC_ID, "ref_doc_id": REF_DOC_ID}


class RagatouilleXMIndexRetriever(RagatouilleXMRetriever):
    """Finds nodes by their passages; a node is returned once, with its best passage's score.

    Parameters
    ----------
    model, index_name, **options
        As for `RagatouilleXMRetriever`.
    docstore : BaseDocumentStore
        Holds the nodes.
    """

    def __init__(
        self, model: RAGPretrainedModel, index_name: str, *, docstore: BaseDocumentStore, **options: Any
    ) -> None:
        self._docstore = docstore
        super().__init__(model, index_name, **options)

    def _restrict(self, filters: Filters, doc_ids: list[str] | None) -> dict[str, Any] | None:
        return restrict_to(compile_filters(filters, NAMES), REF_DOC_ID, doc_ids)

    def _find(self, query: str) -> list[NodeWithScore]:
        n_passages = 2 * self.similarity_top_k
        while True:
            results = self._search(query, n_passages)
            scores: dict[str, float] = {}
            for result in results:
                scores.setdefault(result["document_id"], result["relevance"])
            nodes = self._docstore.get_nodes(list(scores), raise_error=False)
            if len(nodes) >= self.similarity_top_k or len(results) < n_passages:
                break
            n_passages *= 4
        if len(nodes) < len(scores):
            logger.warning("%d nodes of the index are not in the document store", len(scores) - len(nodes))
        return [NodeWithScore(node=node, score=scores[node.node_id]) for node in nodes[: self.similarity_top_k]]
