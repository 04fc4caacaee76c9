"""Searching an index, and looking into it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from ...results import Result, json_values
from ..schemas.search import (
    BatchSearchRequest,
    BatchSearchResponse,
    FieldsResponse,
    FieldValue,
    IndexDescription,
    IndexesResponse,
    IndexField,
    PassagesRequest,
    PassagesResponse,
    SearchOptions,
    SearchRequest,
    SearchResponse,
)
from ..service import Service
from .access import Reading

router = APIRouter(prefix="/v1", tags=["search"])


@router.get("/indexes", summary="The indexes that are served")
async def indexes(service: Reading) -> IndexesResponse:
    """Return the indexes; the first is the default."""
    described = await service.read(lambda: [_describe(service, name) for name in service.indexes])
    return IndexesResponse(indexes=described, checkpoint=service.model_name, writable=service.settings.is_writable)


@router.get("/indexes/{index}", summary="An index")
async def index(service: Reading, index: str) -> IndexDescription:
    """Return how many passages an index has, in which languages."""
    service.index(index)
    return await service.read(lambda: _describe(service, index))


@router.get("/indexes/{index}/fields", summary="Metadata fields of an index")
async def fields(service: Reading, index: str) -> FieldsResponse:
    """Return the metadata fields of an index and their most frequent values: what can be filtered by."""
    retriever = service.index(index)
    found = await service.read(retriever.index.fields)
    return FieldsResponse(
        fields=[
            IndexField(**{**vars(field), "values": [FieldValue(value=value, passages=n) for value, n in field.values]})
            for field in found
        ]
    )


@router.post("/indexes/{index}/search", summary="Search", response_model_exclude_unset=True)
async def search(service: Reading, index: str, asked: SearchRequest) -> SearchResponse:
    """Return the best passages for a query."""
    [results] = await _search(service, index, [asked.query], asked)
    return SearchResponse.model_validate({"results": results})


@router.post("/indexes/{index}/search/batch", summary="Search for several queries", response_model_exclude_unset=True)
async def search_batch(service: Reading, index: str, asked: BatchSearchRequest) -> BatchSearchResponse:
    """Return the best passages for each query."""
    found = await _search(service, index, asked.queries, asked)
    return BatchSearchResponse.model_validate({"results": found})


@router.get("/indexes/{index}/passages", summary="The passages of documents", response_model_exclude_unset=True)
async def passages(
    service: Reading, index: str, document_id: Annotated[list[str], Query(min_length=1)]
) -> PassagesResponse:
    """Return the stored passages of documents, in the order of their texts. Unknown ids are passed over."""
    return await _passages(service, index, document_id)


@router.post("/indexes/{index}/passages", summary="The passages of many documents", response_model_exclude_unset=True)
async def passages_of_many(service: Reading, index: str, asked: PassagesRequest) -> PassagesResponse:
    """Return the stored passages of documents whose ids are too long or too many for an address."""
    return await _passages(service, index, asked.document_ids)


async def _passages(service: Service, index: str, document_ids: list[str]) -> PassagesResponse:
    retriever = service.index(index)
    service.check_count("document ids", len(document_ids))
    found = await service.read(lambda: retriever.passages_of(document_ids))
    return PassagesResponse.model_validate({"passages": found})


async def _search(
    service: Service, index: str, queries: list[str], asked: SearchRequest | BatchSearchRequest
) -> list[list[Result]]:
    service.index(index)
    service.check_count("queries", len(queries))
    service.check_k(asked.k)
    options = {name: getattr(asked, name) for name in SearchOptions.model_fields}

    def search() -> list[list[Result]]:
        found: list[Any] = service.model.search(queries, index_name=index, language=asked.language, **options)
        return [[json_values(result) for result in results] for results in found]

    return await service.read(search)


def _describe(service: Service, name: str) -> IndexDescription:
    found = service.index(name)
    languages = dict(found.index.languages())
    return IndexDescription(name=name, passages=len(found.index), languages=languages, lexical=found.lexical)
