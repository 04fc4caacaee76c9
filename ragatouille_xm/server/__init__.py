"""An index as a service over HTTP (extra ``[server]``)."""

from .app import create_app
from .settings import ServerSettings

__all__ = ["ServerSettings", "create_app"]
