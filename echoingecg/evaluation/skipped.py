"""A protocol that could not run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """Why it could not, in words for the report."""

    reason: str
