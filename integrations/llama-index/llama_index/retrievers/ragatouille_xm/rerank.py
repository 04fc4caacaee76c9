"""`RagatouilleXMRerank`: late-interaction reranking as a LlamaIndex node postprocessor."""

from __future__ import annotations

from typing import Annotated, Any, cast

from llama_index.core.bridge.pydantic import ConfigDict, Field, WithJsonSchema, field_validator
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.errors import InputError
from ragatouille_xm.queries import check_k

from .retriever import cannot_be_pickled

dispatcher = get_dispatcher(__name__)


class RagatouilleXMRerank(BaseNodePostprocessor):
    """Reranks nodes by late interaction, each through its own language's adapter, without an index.

    A node's score becomes its relevance, as in `RagatouilleXMRetriever`: 0 to 1. Copies share the model.

    Parameters
    ----------
    model : RAGPretrainedModel
    top_n : int
        Number of nodes to keep.
    language, document_language : str, optional
        Languages of the queries and of the nodes; by default detected.
    metadata_mode : MetadataMode
        What to encode of a node: by default its text; ``MetadataMode.EMBED`` prepends the metadata that the node does
        not exclude. The language is always that of the text. Text beyond the model's limit is truncated.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError`: if a field is invalid.

    Examples
    --------
    >>> from llama_index.core.query_engine import RetrieverQueryEngine
    >>> rerank = RagatouilleXMRerank(model=RAG, top_n=3)  # doctest: +SKIP
    >>> RetrieverQueryEngine.from_args(any_retriever, node_postprocessors=[rerank])  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    model: Annotated[RAGPretrainedModel, WithJsonSchema(None)] = Field(exclude=True, repr=False)
    top_n: int = 5
    language: str | None = None
    document_language: str | None = None
    metadata_mode: MetadataMode = MetadataMode.NONE

    @field_validator("top_n", mode="before")
    @classmethod
    def _check_top_n(cls, top_n: Any) -> Any:
        check_k(top_n, "top_n")
        return top_n

    @classmethod
    def class_name(cls) -> str:
        """Return the name in serialised settings."""
        return "RagatouilleXMRerank"

    def __getstate__(self) -> dict[str, Any]:
        raise cannot_be_pickled(self)  # the base class would leave out the model

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("Reranking needs a query: give postprocess_nodes query_str= or query_bundle=.")
        name, query = self.model.encoder.checkpoint.name, query_bundle.query_str
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            reranked = self._rerank(nodes, query)
            event.on_end(payload={EventPayload.NODES: reranked})
        dispatcher.event(ReRankEndEvent(nodes=reranked))
        return reranked

    def _rerank(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        texts = [each.node.get_content(metadata_mode=self.metadata_mode) for each in nodes]
        languages: str | list[str] | None = self.document_language
        if languages is None and self.metadata_mode != MetadataMode.NONE:
            plain_texts = [each.node.get_content(metadata_mode=MetadataMode.NONE) for each in nodes]
            languages = [each.language for each in self.model.detect_languages(plain_texts, together=True)]
        found = self.model.rerank(query, texts, self.top_n, language=self.language, languages=languages)
        return [
            NodeWithScore(node=nodes[result["result_index"]].node, score=result["relevance"])
            for result in cast("list[dict[str, Any]]", found)
        ]
