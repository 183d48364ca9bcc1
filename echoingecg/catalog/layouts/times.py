"""Dates and times of an export as seconds, and as hours since a patient's first event.

One form is read: local date and time of day, year first, as in ISO 8601: `2180-07-23 08:44:00` or with `T`. Refused
are a date alone, an offset from UTC, and other orders of day and month (03/04/2024 may be March or April): each would
need a guess.
"""

import numpy as np
import pandas as pd

_YEARS = (
    1800,
    2499,
)  # de-identified dates lie in the future; 0001, 1753 and 9999 are markers of software for "unknown"
TIME_RULE = (
    f"no date and time of the form 2180-07-23 08:44:00, year {_YEARS[0]} to {_YEARS[1]}; "
    "an offset from UTC, a bare date and another order of day and month are refused, since reading them needs a guess"
)
_TWO = "[0-9]{2}"
_TIME = rf"([0-9]{{4}})-{_TWO}-{_TWO}[ T]{_TWO}:{_TWO}(?::{_TWO}(?:\.[0-9]{{1,6}})?)?"
_MICROSECONDS = 1e6


def seconds(times: pd.Series) -> pd.Series:
    """Converts text such as `2180-07-23 08:44:00` to float64 seconds since 1970; other text becomes NaN."""
    year = pd.to_numeric(times.str.extract(rf"\A{_TIME}\Z", expand=False)).astype("float64")
    plain = times.where(year.between(*_YEARS))
    parsed = pd.to_datetime(plain, errors="coerce", format="ISO8601").astype("datetime64[us]")
    return (parsed.astype("int64") / _MICROSECONDS).where(parsed.notna(), np.nan).astype("float64")


def first_events(frames: list[pd.DataFrame], other: pd.Series | None = None) -> pd.Series:
    """Returns the earliest `seconds` of each `patient` over all frames, and over `other` earliest ones by patient."""
    events = [frame[["patient", "seconds"]] for frame in frames]
    if other is not None:
        events.append(pd.DataFrame({"patient": other.index.astype("str"), "seconds": other.to_numpy()}))
    return pd.concat(events, ignore_index=True).groupby("patient")["seconds"].min()


def hours_since(seconds_: pd.Series, first: pd.Series) -> np.ndarray:
    """Returns the hours from each row's `first` to its `seconds_`: float64, whole multiples of 1/3600 h."""
    return np.round((seconds_ - first).to_numpy(dtype=np.float64)) / 3600
