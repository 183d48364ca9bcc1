"""Counts of the rows that are left after each condition on pairs and labels."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class FilterSteps:
    """Counts the rows that are left after each condition on one kind of pair.

    Attributes:
        pair: split, ecg_echo, ecg_text or labels.
        rows: rows of the FILTERS table, in the order of the conditions.
    """

    pair: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, step: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Records how many rows are left after `step`; returns the frame unchanged."""
        self.rows.append({"pair": self.pair, "step": step, "kept": len(frame)})
        return frame
