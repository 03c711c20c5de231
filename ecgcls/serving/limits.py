"""What a request may cost, and how it is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ecgcls.errors import ConfigError

_MB = 1_000_000
_UPLOADS_IN_MEMORY = 8  # of the largest size; mostly hundreds of small ones


@dataclass(frozen=True)
class Limits:
    """What a request may hold.

    Attributes
    ----------
    max_upload_mb
        Of a whole request, MB; what a ZIP file in it holds may take four times as much.
    max_files
        In a request, those in ZIP files among them.
    max_duration_s
        Of a recording: a longer one would keep the others waiting.
    max_waiting
        Requests that are received, wait or are answered; each further one is refused at once.
    patience_s
        How long the next bytes of a request may take, s, and ten times that, the whole of it.
    """

    max_upload_mb: float = 64.0
    max_files: int = 2000
    max_duration_s: float = 3600.0
    max_waiting: int = 256
    patience_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_upload_mb", "max_waiting"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name):g}")

    @property
    def max_bytes(self) -> int:
        """Of a request."""
        return int(self.max_upload_mb * _MB)

    @property
    def max_unpacked(self) -> int:
        """Bytes of all files of a request, unpacked."""
        return 4 * self.max_bytes


class Refused(Exception):
    """A request is answered with a status from 400 on, and one line."""

    def __init__(self, status: int, error: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.retry_after_s = status, error, retry_after_s


class Admission:
    """Counts requests, and the bytes of all of them in memory. Used by the event loop's thread alone."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.n_waiting = 0
        self.n_bytes = 0

    @contextmanager
    def enter(self) -> Iterator["Place"]:
        """Admit a request for as long as the block lasts, or refuse it with 503 where too many are there."""
        if self.n_waiting >= self._limits.max_waiting:
            raise self._busy(f"{self.n_waiting} requests are waiting")
        self.n_waiting += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.n_waiting -= 1
            self.n_bytes -= place.n_bytes

    def take(self, n_bytes: int) -> None:
        """Count bytes of a request, or refuse it with 503 where those of all of them are too many."""
        if self.n_bytes + n_bytes > _UPLOADS_IN_MEMORY * self._limits.max_bytes:
            raise self._busy("the files of other requests fill the memory")
        self.n_bytes += n_bytes

    def _busy(self, why: str) -> Refused:
        return Refused(503, f"busy: {why}; try again in some seconds", retry_after_s=5)


class Place:
    """An admitted request."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.n_bytes = 0

    def take(self, n_bytes: int) -> None:
        """Count bytes of this request."""
        self._admission.take(n_bytes)
        self.n_bytes += n_bytes
