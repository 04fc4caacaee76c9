"""What requests and answers look like."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from ..config import LANGUAGE_WEIGHT, LEXICAL_WEIGHT

Metadata: TypeAlias = dict[str, Any]
Language: TypeAlias = Annotated[
    str | None, Field(description="BCP-47 code or adapter id; by default detected.", examples=["fr"])
]
FilterField: TypeAlias = Annotated[
    dict[str, Any] | None,
    Field(description="Conditions on metadata, language or document_id.", examples=[{"year": {"$gte": 2020}}]),
]


Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Given(BaseModel):
    """A request: unknown names are refused."""

    model_config = ConfigDict(extra="forbid")


# ---- searching


class SearchOptions(Given):
    """How to search; the names are those of `RAGPretrainedModel.search`."""

    k: Annotated[int, Field(ge=1, description="Results of each query.", examples=[3])] = 10
    filter: FilterField = None
    min_score: float | None = None
    min_relevance: Share | None = None
    prefer_language: str | None = Field(None, description='A language, or "query" for that of the query.')
    language_weight: Share = LANGUAGE_WEIGHT
    doc_ids: list[str] | None = Field(None, description="Search only these documents.")
    exact: bool = Field(False, description="Score every passage.")
    force_fast: bool = Field(False, description="Score fewer candidates.")
    explain: bool = Field(False, description="Say which words matched.")
    hybrid: bool = Field(False, description="Rank by the words that query and passage share as well.")
    lexical_weight: Share = LEXICAL_WEIGHT
    group_by_document: bool = Field(False, description="One result for each document: its best passage.")
    context: Annotated[int, Field(ge=0, description="Passages before and after each result to return.")] = 0


class SearchRequest(SearchOptions):
    """A query."""

    query: str = Field(examples=["Où est la bibliothèque ?"])
    language: Language = None


class BatchSearchRequest(SearchOptions):
    """Queries with the same options; their languages may be a list."""

    queries: list[str] = Field(min_length=1, examples=[["Where is the station?", "Wo ist der Bahnhof?"]])
    language: Annotated[str | list[str | None] | None, Field(description="Of all queries, or of each.")] = None


class Passage(BaseModel):
    """A stored passage."""

    content: str
    document_id: str
    passage_id: int
    language: str
    document_metadata: Metadata | None = None


class SearchResult(Passage):
    """A passage that was found."""

    score: float
    rank: int
    relevance: float = Field(description="How likely it answers the query, 0 to 1.")
    maxsim_score: float | None = Field(None, description="With `hybrid`: of what the score is made.")
    lexical_score: float | None = None
    query_language: str | None = Field(description="Whose adapter the query went through.")
    evidence: dict[str, Any] | None = Field(None, description="With `explain`: which words matched, and where.")
    other_passages: list[SearchResult] | None = Field(
        None, description="With `group_by_document`: the other passages of the document that were found."
    )
    context_before: list[str] | None = Field(None, description="With `context`, in the order of the text.")
    context_after: list[str] | None = None


class SearchResponse(BaseModel):
    """The results of a query, best first."""

    results: list[SearchResult]


class BatchSearchResponse(BaseModel):
    """The results of each query, in the order of the queries."""

    results: list[list[SearchResult]]


# ---- documents


class DocumentGiven(Given):
    """A document."""

    text: str = Field(examples=["La bibliothèque est ouverte."])
    document_id: str | None = Field(None, description="By default a random UUID.", examples=["library"])
    metadata: Metadata | None = Field(None, examples=[{"year": 2024}])
    language: Language = None


class DocumentsRequest(Given):
    """Documents to add, or to put in the place of those of the same ids."""

    documents: list[DocumentGiven] = Field(min_length=1)
    split_documents: bool = Field(True, description="Split long documents into passages instead of truncating them.")


class DocumentsResponse(BaseModel):
    """Documents that are on disk and searchable."""

    document_ids: list[str]
    passages: int = Field(description="Passages of the index now.")


class DeleteRequest(Given):
    """Documents to delete."""

    document_ids: list[str] = Field(min_length=1, examples=[["library"]])


class DeleteResponse(BaseModel):
    """What was deleted."""

    passages_deleted: int
    passages: int = Field(description="Passages of the index now.")


class PassagesResponse(BaseModel):
    """The passages of documents."""

    passages: list[Passage]


class IndexDescription(BaseModel):
    """An index."""

    name: str
    passages: int
    languages: dict[str, int] = Field(description="Passages in each language.")
    lexical: bool = Field(description="Whether it can be searched with `hybrid`.")


class FieldValue(BaseModel):
    """A value of a metadata field."""

    value: str | bool | int | float | None
    passages: int


class IndexField(BaseModel):
    """A metadata field, to filter by."""

    name: str
    passages: int = Field(description="That have it.")
    values: list[FieldValue] = Field(description="The most frequent ones.")
    distinct: int = Field(description="How many values there are.")
    least: float | None = Field(description="Of its numbers.")
    greatest: float | None


class FieldsResponse(BaseModel):
    """The metadata fields of an index."""

    fields: list[IndexField]


class IndexesResponse(BaseModel):
    """The indexes of this service; the first is the default."""

    indexes: list[IndexDescription]
    checkpoint: str
    writable: bool = Field(description="Whether anybody may add and delete documents.")


# ---- the model alone


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

    texts: list[str] = Field(min_length=1, examples=[["Wo ist der Bahnhof?"]])


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

    queries: list[str] = Field(min_length=1, examples=[["Where is the station?"]])
    documents: list[str] = Field(min_length=1, examples=[["Der Bahnhof ist am Markt.", "Das Museum ist geschlossen."]])
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


# ---- reranking, in the forms of others. They ignore names that they do not know, and so do these.


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
