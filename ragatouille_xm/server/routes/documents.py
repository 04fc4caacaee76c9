"""Adding, updating and deleting documents."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from fastapi import APIRouter

from ..schemas.documents import DeleteRequest, DeleteResponse, DocumentsRequest, DocumentsResponse
from ..service import Service
from .access import Writing

router = APIRouter(prefix="/v1/indexes/{index}/documents", tags=["documents"])


@router.post("", status_code=201, summary="Add documents")
async def add(service: Writing, index: str, given: DocumentsRequest) -> DocumentsResponse:
    """Add documents. They are on disk and searchable once this is answered; a failure changes nothing."""
    return await _store(service, index, given, service.model.add_to_index)


@router.put("", summary="Add or replace documents")
async def update(service: Writing, index: str, given: DocumentsRequest) -> DocumentsResponse:
    """Put documents in the place of those of the same ids, and add those that are new."""
    return await _store(service, index, given, service.model.update_in_index)


@router.post("/delete", summary="Delete documents")
async def delete(service: Writing, index: str, given: DeleteRequest) -> DeleteResponse:
    """Delete documents; unknown ids are passed over."""
    retriever = service.index(index)
    service.check_count("document ids", len(given.document_ids))
    deleted = await service.write(index, lambda: retriever.delete(given.document_ids))
    return DeleteResponse(passages_deleted=deleted, passages=len(retriever.index))


async def _store(
    service: Service, index: str, given: DocumentsRequest, store: Callable[..., None]
) -> DocumentsResponse:
    documents = given.documents
    retriever = service.index(index)
    service.check_count("documents", len(documents))
    ids = [str(uuid4()) if each.document_id is None else each.document_id for each in documents]
    await service.write(
        index,
        lambda: store(
            [each.text for each in documents],
            ids,
            [each.metadata for each in documents],
            index,
            given.split_documents,
            languages=[each.language for each in documents],
        ),
    )
    return DocumentsResponse(document_ids=ids, passages=len(retriever.index))
