"""The service of a request, for those who may use it."""

from __future__ import annotations

from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Header, Request

from ..keys import check_read, check_write
from ..service import Service

Authorization: TypeAlias = Annotated[str | None, Header(include_in_schema=False)]


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _reading(service: Annotated[Service, Depends(_service)], authorization: Authorization = None) -> Service:
    check_read(service.settings, authorization)
    return service


def _writing(service: Annotated[Service, Depends(_service)], authorization: Authorization = None) -> Service:
    check_write(service.settings, authorization)
    return service


Open: TypeAlias = Annotated[Service, Depends(_service)]  # for everybody
Reading: TypeAlias = Annotated[Service, Depends(_reading)]
Writing: TypeAlias = Annotated[Service, Depends(_writing)]
