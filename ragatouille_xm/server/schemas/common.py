"""What requests and answers have in common."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

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
