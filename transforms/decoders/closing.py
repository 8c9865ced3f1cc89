"""Context manager of the decoders."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager
from types import TracebackType


class Closing(AbstractContextManager):
    """Frees a decoder at the end of a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Frees the decoder; the file stays open."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
