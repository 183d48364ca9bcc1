"""Nearest in time, within the same patient: a sort and a merge instead of all pairs."""

import pandas as pd


def nearest_in_time(rows: pd.DataFrame, candidates: pd.DataFrame, name: str, window_hours: float) -> pd.DataFrame:
    """Gives each row its patient's nearest candidate.

    Ties of the absolute gap go to the earlier candidate, then to the smaller `name`.

    Args:
        rows: columns `patient_id`, `hours` and others.
        candidates: columns `patient_id`, `hours` and `name`.
        name: identifier of the candidates; `rows` must not have it.
        window_hours: largest absolute gap, h.

    Returns:
        The rows that have a candidate within the window, with `name` and `gap_hours` (candidate minus row, h);
        order and index are not kept.
    """
    if rows.empty or candidates.empty:  # pandas cannot match Arrow-backed strings of two empty frames
        return rows.head(0).assign(**{name: candidates[name].head(0), "gap_hours": 0.0})
    # One candidate a moment, or the backward merge would take the last of equals and the forward one the first.
    moments = candidates.sort_values(["hours", "patient_id", name]).drop_duplicates(["patient_id", "hours"])
    moments = moments[["patient_id", "hours", name]].rename(columns={"hours": "found_hours"})
    rows = rows.sort_values("hours", kind="stable")
    sides = [
        pd.merge_asof(rows, moments, left_on="hours", right_on="found_hours", by="patient_id", direction=direction)
        for direction in ("backward", "forward")
    ]
    earlier, later = (side.assign(gap_hours=side["found_hours"] - side["hours"]) for side in sides)
    use_later = later["gap_hours"].abs().lt(earlier["gap_hours"].abs()) | earlier["gap_hours"].isna()
    found = earlier.where(~use_later, later)
    return found[found["gap_hours"].abs() <= window_hours].drop(columns="found_hours")
