"""What a service allows, and to whom."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import InputError

MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Keys and limits of a service.

    Attributes
    ----------
    read_keys, write_keys : tuple of str
        API keys. A write key reads as well. Without read keys everybody reads. Without write keys everybody writes,
        unless there are read keys: then nobody does.
    read_only : bool
        Nobody writes.
    allowed_origins : tuple of str
        Other sites whose pages may call the service (CORS): ``"https://example.org"``.
    batch_size : int
        Most queries that are encoded in one pass, of requests that come at the same time.
    batch_window : float
        Seconds that a query waits for others. With 0, those go together that came while others were encoded.
    max_body : int
        Bytes of a request.
    max_texts : int
        Queries, documents or texts in a request.
    max_k : int
        Results of a query.
    max_requests : int
        Requests at a time; more are refused with 503.
    threads : int
        Requests that are worked on at a time; others wait.
    timeout : float
        Seconds that a request which reads may take, and that a client has to send one. Who writes has to be waited for.
    """

    read_keys: tuple[str, ...] = ()
    write_keys: tuple[str, ...] = ()
    read_only: bool = False
    allowed_origins: tuple[str, ...] = ()
    batch_size: int = 32
    batch_window: float = 0.0
    max_body: int = 16 * MEBIBYTE
    max_texts: int = 1_000
    max_k: int = 1_000
    max_requests: int = 256
    threads: int = 16
    timeout: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and value < 1:
                raise InputError(f"{field.name}={value} is not usable: give a whole number of at least 1.")
        if self.batch_window < 0 or self.timeout <= 0:
            raise InputError(
                f"batch_window={self.batch_window} and timeout={self.timeout} are seconds: give at least 0, and more "
                "than 0."
            )
        if any(not key.isascii() or not key.isprintable() or " " in key or not key for key in self.keys):
            raise InputError(
                "An API key has characters that HTTP cannot carry: use letters, digits and signs of ASCII."
            )

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys."""
        return self.read_keys + self.write_keys

    @property
    def is_writable(self) -> bool:
        """Whether anybody may write."""
        return not self.read_only and (bool(self.write_keys) or not self.read_keys)
