"""How long work reports itself, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called with the amount done, the total and a short note such as `loss 0.31`."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def silent(done: int, total: int, note: str = "") -> None:
    """A listener that does nothing."""
