"""Nodes of LlamaIndex as documents of an index: what is written of them, and how whole nodes are found by passages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llama_index.core.schema import BaseNode, MetadataMode, NodeRelationship, NodeWithScore, RelatedNodeInfo

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.corpus.filters import METADATA_FIRST
from ragatouille_xm.corpus.metadata import check_metadata
from ragatouille_xm.corpus.passages import is_blank

REF_DOC_ID = "metadata.ref_doc_id"
NAMES = {**METADATA_FIRST, "doc_id": REF_DOC_ID, "ref_doc_id": REF_DOC_ID}  # in filters

Language = str | Callable[[BaseNode], str | None] | None


class Columns(NamedTuple):
    """What is encoded of nodes that have text."""

    nodes: list[BaseNode]
    texts: list[str]
    ids: list[str]
    languages: list[str | None] | None


def columns_of(
    model: RAGPretrainedModel,
    nodes: Sequence[BaseNode],
    language: Language,
    metadata_mode: MetadataMode,
    index_name: str | None,
) -> Columns:
    """Return what to encode of the nodes that have text.

    Parameters
    ----------
    language : str or callable, optional
        Of all nodes, or a function from a node to its language, or to None to detect it. It is that of the text,
        also where `metadata_mode` puts metadata before it.
    index_name : str, optional
        The index that they are added to, which tells what language short texts are in; None for a new one.
    """
    nodes = [node for node in nodes if has_text(node)]
    languages: list[str | None] | None = None
    if language is not None:
        languages = [language(node) if callable(language) else language for node in nodes]
    if metadata_mode != MetadataMode.NONE:
        plain = [node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes]
        detected = model.detect_languages(plain, index_name=index_name, together=True)
        given = languages or [None] * len(nodes)
        languages = [mine or its.language for mine, its in zip(given, detected, strict=True)]
    texts = [node.get_content(metadata_mode=metadata_mode) for node in nodes]
    return Columns(nodes, texts, [node.node_id for node in nodes], languages)


def has_text(node: BaseNode) -> bool:
    """Return whether there is something to search for in `node`."""
    return not is_blank(node.get_content(metadata_mode=MetadataMode.NONE))


def last_of_each(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    """Return the last node of each id, as it can be stored.

    Raises
    ------
    ragatouille_xm.errors.InputError
        If metadata cannot be stored.
    """
    return [_storable(node) for node in {node.node_id: node for node in nodes}.values()]


def _storable(node: BaseNode) -> BaseNode:
    """Return a copy whose metadata are plain JSON values, which the index and every document store can write."""
    relationships: dict[NodeRelationship, Any] = {
        kind: [_related(each) for each in related] if isinstance(related, list) else _related(related)
        for kind, related in node.relationships.items()
    }
    return node.model_copy(update={"metadata": check_metadata(node.metadata), "relationships": relationships})


def _related(node: RelatedNodeInfo) -> RelatedNodeInfo:
    return node.model_copy(update={"metadata": check_metadata(node.metadata)})


def best_nodes(
    search: Callable[[int], list[dict[str, Any]]],
    nodes_of: Callable[[Mapping[str, dict[str, Any]]], list[BaseNode]],
    k: int,
    score: str = "relevance",
) -> list[NodeWithScore]:
    """Return the best `k` nodes, each once, with the score of its best passage.

    Parameters
    ----------
    search : callable
        From a number of passages to as many results, best first; fewer if there are no more.
    nodes_of : callable
        From the best result of each node, by the node's id, to the nodes in that order; it may leave nodes out.
    k : int
    score : str
        The key of a result that has it.
    """
    n_passages = 2 * k
    while True:
        results = search(n_passages)
        best: dict[str, dict[str, Any]] = {}
        for result in results:
            best.setdefault(result["document_id"], result)
        nodes = nodes_of(best)
        if len(nodes) >= k or len(results) < n_passages:
            return [NodeWithScore(node=node, score=best[node.node_id][score]) for node in nodes[:k]]
        n_passages *= 4
