"""The model without an index: encoding, languages, reranking in the forms of other services."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter

from ...results import Result
from ..schemas.model import (
    Detected,
    DetectRequest,
    DetectResponse,
    Encoded,
    EncodeRequest,
    EncodeResponse,
    RankRequest,
    RankResponse,
    Reranked,
    RerankedDocument,
    RerankRequest,
    RerankResponse,
    RerankUsage,
    TeiRank,
    TeiRerankRequest,
)
from ..service import Service
from .access import Reading

router = APIRouter(tags=["model"])


@router.post("/v1/encode", summary="Token vectors of texts")
async def encode(service: Reading, asked: EncodeRequest) -> EncodeResponse:
    """Return the token vectors of queries or documents, each through its own language's adapter."""
    service.check_count("texts", len(asked.texts))
    return await service.read(lambda: _encode(service, asked))


@router.post("/v1/detect-languages", summary="Languages of texts")
async def detect_languages(service: Reading, asked: DetectRequest) -> DetectResponse:
    """Return the language of each text, and the adapter that encodes it."""
    service.check_count("texts", len(asked.texts))
    found = await service.read(lambda: service.model.detect_languages(asked.texts))
    return DetectResponse(languages=[Detected(**each._asdict()) for each in found])


@router.post("/v1/rank", summary="Rank documents for queries")
async def rank(service: Reading, asked: RankRequest) -> RankResponse:
    """Return the best documents for each query, as the model's own `rerank` does."""
    service.check_count("queries", len(asked.queries))
    service.check_count("documents", len(asked.documents))
    service.check_k(asked.k)

    def ranked() -> list[list[Result]]:
        found: list[Any] = service.rerank(
            asked.queries, asked.documents, asked.k, language=asked.language, languages=asked.languages,
            min_relevance=asked.min_relevance,
        )  # fmt: skip
        return found

    return RankResponse.model_validate({"results": await service.read(ranked)})


@router.post("/v1/rerank", summary="Rerank, as Cohere and Jina have it", response_model_exclude_none=True)
@router.post("/v2/rerank", include_in_schema=False, response_model_exclude_none=True)  # of Cohere's newer clients
async def rerank(service: Reading, asked: RerankRequest) -> RerankResponse:
    """Return documents by their relevance to a query."""
    texts = [each if isinstance(each, str) else each.text for each in asked.documents]
    ranked = await _rerank(service, asked.query, texts, asked.top_n, asked.language)
    return RerankResponse(
        id=str(uuid4()),
        model=service.model_name,
        results=[
            Reranked(
                index=each["result_index"],
                relevance_score=each["relevance"],
                document=RerankedDocument(text=texts[each["result_index"]]) if asked.return_documents else None,
            )
            for each in ranked
        ],
        usage=RerankUsage(total_tokens=sum(service.model.encoder.tokenizer.count([asked.query, *texts]))),
        meta={"api_version": {"version": "1"}},
    )


@router.post("/rerank", summary="Rerank, as Text Embeddings Inference has it", response_model_exclude_none=True)
async def rerank_tei(service: Reading, asked: TeiRerankRequest) -> list[TeiRank]:
    """Return texts by their relevance to a query, or by MaxSim."""
    score = "score" if asked.raw_scores else "relevance"
    return [
        TeiRank(
            index=each["result_index"],
            score=each[score],
            text=asked.texts[each["result_index"]] if asked.return_text else None,
        )
        for each in await _rerank(service, asked.query, asked.texts, None, None)
    ]


async def _rerank(service: Service, query: str, texts: list[str], k: int | None, language: str | None) -> list[Result]:
    """Return all texts, the blank ones last, or the best `k`."""
    service.check_count("documents", len(texts))
    n = len(texts) if k is None else k

    def rank() -> list[Result]:
        found: list[Any] = service.rerank(query, texts, n, language=language)
        return found

    ranked = await service.read(rank)
    known = {each["result_index"] for each in ranked}
    blank = [{"result_index": i, "score": 0.0, "relevance": 0.0} for i in range(len(texts)) if i not in known]
    return [*ranked, *blank[: n - len(ranked)]]


def _encode(service: Service, asked: EncodeRequest) -> EncodeResponse:
    languages = service.languages_of(asked.texts, asked.language)
    encoder = service.model.encoder
    if asked.kind == "query":
        rows = encoder.encode_queries(asked.texts, languages)
        blocks = [block[block.any(dim=1)] for block in rows]
    else:
        blocks = list(encoder.encode_documents(asked.texts, languages))
    return EncodeResponse(
        encoded=[
            Encoded(language=language, vectors=block.float().tolist())
            for language, block in zip(languages, blocks, strict=True)
        ]
    )
