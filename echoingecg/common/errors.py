"""Errors a user can mend, and refusals that become quarantine rows."""

from collections.abc import Callable
from typing import TypeVar

from data_contracts.conventions import ContractError, UserError
from data_contracts.quarantine import REASONS

__all__ = [
    "ContractError",
    "ExportError",
    "RecipeError",
    "Refusal",
    "StoreError",
    "TrainingError",
    "UserError",
    "outcome_of",
]

Value = TypeVar("Value")


class RecipeError(UserError):
    """The recipe holds an unknown key or an impossible value."""


class ExportError(UserError):
    """The export cannot be read as a whole: no known layout, a table without a needed column."""


class StoreError(UserError):
    """The workspace cannot be read or written, or an artefact is missing or damaged."""


class TrainingError(UserError):
    """Training cannot start or go on."""


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


def outcome_of(work: Callable[[], Value]) -> Value | Refusal:
    """What `work` makes of a record, or why it is refused; the quarantine boundary.

    Raises:
        OSError: the file cannot be read.
        UserError: of the run, not of the record; likewise MemoryError.
    """
    try:
        return work()
    except Refusal as refusal:
        return refusal
    except (UserError, MemoryError, OSError):
        raise
    except Exception as fault:  # noqa: BLE001 - a decoder's surprise must not stop 800,000 other records
        return Refusal("unreadable", f"unexpected {type(fault).__name__}")
