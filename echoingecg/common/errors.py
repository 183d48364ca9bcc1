"""Errors that a user can correct, and refusals of single records, which become quarantine rows."""

from collections.abc import Callable
from typing import TypeVar

from data_contracts.conventions import UserError
from data_contracts.quarantine import REASONS

Value = TypeVar("Value")


class RecipeError(UserError):
    """The recipe holds an unknown key or an impossible value."""


class ExportError(UserError):
    """The export cannot be read as a whole: its layout is unknown, or a table lacks a required column."""


class StoreError(UserError):
    """The workspace cannot be read or written, or an artefact is missing or damaged."""


class TrainingError(UserError):
    """Training cannot start or cannot continue."""


class Stopped(UserError):
    """The work was asked to stop before it was done. What is written stands; the next run goes on from there."""

    def __init__(self) -> None:
        super().__init__("stopped: run again, it goes on from its last commit or checkpoint")


class Refusal(UserError):
    """One record is refused. It becomes a row of the stage's quarantine table.

    Args:
        reason: a code of data_contracts.quarantine.REASONS.
        detail: what was found, on one line; never a path, a name or an identifier.
    """

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = " ".join(detail.split())

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def result_or_refusal(work: Callable[[], Value]) -> Value | Refusal:
    """Returns the result of `work` on one record, or the refusal that it raised.

    An unexpected exception also becomes a refusal (`unreadable`), so that one broken record does not stop the run.

    Raises:
        OSError: the file cannot be read.
        UserError: the fault concerns the whole run, not this record.
        MemoryError: the memory is exhausted.
    """
    try:
        return work()
    except Refusal as refusal:
        return refusal
    except (UserError, MemoryError, OSError):
        raise
    except Exception as fault:  # noqa: BLE001 - a decoder's surprise must not stop 800,000 other records
        return Refusal("unreadable", f"unexpected {type(fault).__name__}")
