"""Adding, updating and deleting documents."""

from __future__ import annotations

from pydantic import BaseModel, Field

from .common import Given, Language, Metadata


class DocumentGiven(Given):
    """A document."""

    text: str = Field(examples=["La bibliothèque est ouverte."])
    document_id: str | None = Field(None, description="By default a random UUID.", examples=["library"])
    metadata: Metadata | None = Field(None, examples=[{"year": 2024}])
    language: Language = None


class DocumentsRequest(Given):
    """Documents to add, or to put in the place of those of the same ids."""

    documents: list[DocumentGiven]
    split_documents: bool = Field(True, description="Split long documents into passages instead of truncating them.")


class DocumentsResponse(BaseModel):
    """Documents that are on disk and searchable."""

    document_ids: list[str]
    passages: int = Field(description="Passages of the index now.")


class DeleteRequest(Given):
    """Documents to delete."""

    document_ids: list[str] = Field(examples=[["library"]])


class DeleteResponse(BaseModel):
    """What was deleted."""

    passages_deleted: int
    passages: int = Field(description="Passages of the index now.")
