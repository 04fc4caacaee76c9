"""Searching an index, and looking into it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from ...config import LANGUAGE_WEIGHT, LEXICAL_WEIGHT
from .common import FilterField, Given, Language, Metadata, Share


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

    queries: list[str] = Field(examples=[["Where is the station?", "Wo ist der Bahnhof?"]])
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


class PassagesRequest(Given):
    """Documents whose passages are asked for."""

    document_ids: list[str] = Field(examples=[["library"]])


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
