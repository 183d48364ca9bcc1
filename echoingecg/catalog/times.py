"""Dates leave the catalog as hours since the patient's first event, to the second."""

from typing import Final

import numpy as np
import pandas as pd

# Local time with date and time of day; a bare date or an offset from UTC would have to be guessed about.
_PATTERN: Final = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?"
_EPOCH: Final = pd.Timestamp(0)


def seconds(times: pd.Series) -> pd.Series:
    """Text such as `2180-07-23 08:44:00` as float64 seconds on an arbitrary scale; NaN when it is none."""
    plain = times.where(times.str.fullmatch(_PATTERN).astype(bool))
    parsed = pd.to_datetime(plain, errors="coerce", format="ISO8601")
    return ((parsed - _EPOCH) / pd.Timedelta(seconds=1)).astype("float64")


def first_events(frames: list[pd.DataFrame]) -> pd.Series:
    """The earliest `seconds` of each `patient` over all frames."""
    events = pd.concat([frame[["patient", "seconds"]] for frame in frames])
    return events.groupby("patient")["seconds"].min()


def hours_since(seconds_: pd.Series, first: pd.Series) -> np.ndarray:
    """float64 hours, whole multiples of 1/3600, from each row's `first` to its `seconds_`."""
    return np.round((seconds_ - first).to_numpy(dtype=np.float64)) / 3600
