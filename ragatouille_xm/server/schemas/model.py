"""The model without an index. Reranking is in the forms of others, who ignore names that they do not know."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from .common import Given, Language, Share


class EncodeRequest(Given):
    """Texts to encode."""

    texts: list[str] = Field(min_length=1, examples=[["Où est la gare ?"]])
    kind: Literal["query", "document"] = "query"
    language: Annotated[str | list[str | None] | None, Field(description="Of all texts, or of each.")] = None


class Encoded(BaseModel):
    """A text as token vectors."""

    language: str
    vectors: list[list[float]] = Field(description="One unit vector for each token.")


class EncodeResponse(BaseModel):
    """The token vectors of each text."""

    encoded: list[Encoded]


class DetectRequest(Given):
    """Texts whose language is to be detected."""

    texts: list[str] = Field(examples=[["Wo ist der Bahnhof?"]])


class Detected(BaseModel):
    """The language of a text."""

    language: str
    adapter: str | None
    confidence: float


class DetectResponse(BaseModel):
    """The language of each text."""

    languages: list[Detected]


class RankRequest(Given):
    """Documents to rank for each query; the names are those of `RAGPretrainedModel.rerank`."""

    queries: list[str] = Field(examples=[["Where is the station?"]])
    documents: list[str] = Field(examples=[["Der Bahnhof ist am Markt.", "Das Museum ist geschlossen."]])
    k: Annotated[int, Field(ge=1)] = 10
    language: Annotated[str | list[str | None] | None, Field(description="Of all queries, or of each.")] = None
    languages: Annotated[str | list[str | None] | None, Field(description="Of all documents, or of each.")] = None
    min_relevance: Share | None = None


class Ranked(BaseModel):
    """A document's place; `result_index` is its position in the request."""

    content: str
    score: float
    rank: int
    language: str
    relevance: float
    query_language: str | None
    result_index: int


class RankResponse(BaseModel):
    """The documents for each query, best first."""

    results: list[list[Ranked]]


class RerankDocument(BaseModel):
    """A document as an object, as Cohere and Jina allow it."""

    text: str


class RerankRequest(BaseModel):
    """A request as Cohere's and Jina's services take it."""

    query: str = Field(examples=["Where is the station?"])
    documents: list[str | RerankDocument] = Field(
        min_length=1, examples=[["Der Bahnhof ist am Markt.", "Das Museum ist geschlossen."]]
    )
    top_n: Annotated[int | None, Field(ge=1)] = None
    return_documents: bool = False
    model: str | None = Field(None, description="Ignored: the service has one model.")
    language: Language = None


class RerankedDocument(BaseModel):
    """The text of a document."""

    text: str


class Reranked(BaseModel):
    """A document's place."""

    index: int
    relevance_score: float
    document: RerankedDocument | None = None


class RerankUsage(BaseModel):
    """Jina's count of tokens."""

    total_tokens: int


class RerankResponse(BaseModel):
    """Documents by relevance, in the form of Cohere and Jina."""

    id: str
    model: str
    results: list[Reranked]
    usage: RerankUsage
    meta: dict[str, Any]


class TeiRerankRequest(BaseModel):
    """A request as Text Embeddings Inference takes it."""

    query: str = Field(examples=["Where is the station?"])
    texts: list[str] = Field(min_length=1, examples=[["Der Bahnhof ist am Markt.", "Das Museum ist geschlossen."]])
    raw_scores: bool = Field(False, description="MaxSim instead of relevance.")
    return_text: bool = False


class TeiRank(BaseModel):
    """A text's place."""

    index: int
    score: float
    text: str | None = None
