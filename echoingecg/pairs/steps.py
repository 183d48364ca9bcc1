"""Counts of rows after each condition: the FILTERS table says where pairs were lost."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Steps:
    """The conditions of one kind of pair, in the order applied.

    Attributes:
        pair: ecg_echo, ecg_text or labels.
        rows: rows of the FILTERS table so far.
    """

    pair: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, step: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Notes how many rows are left after `step`; returns the frame as it is."""
        self.rows.append({"pair": self.pair, "step": step, "kept": len(frame)})
        return frame
