"""Matching in time: for each row its patient's nearest candidate."""

import pandas as pd


def nearest_in_time(
    rows: pd.DataFrame, candidates: pd.DataFrame, name: str, window_hours: float, only_later: bool = False
) -> pd.DataFrame:
    """Matches each row with its patient's nearest candidate in time.

    It sorts and merges, so it never builds all pairs.
    Of two equally near candidates the earlier one is taken, then the smaller `name`.

    Args:
        rows: columns `patient_id`, `hours` and others.
        candidates: columns `patient_id`, `hours` and `name`.
        name: column that identifies candidates; `rows` must not have it.
        window_hours: largest absolute gap, h.
        only_later: candidates before the row do not count; one at the same time does.

    Returns:
        The rows with a candidate within the window, with their index, `name` and `gap_hours` (candidate minus row, h).
        The order may change.
    """
    if rows.empty or candidates.empty:  # pandas cannot match Arrow-backed strings of two empty frames
        return rows.head(0).assign(**{name: candidates[name].head(0), "gap_hours": 0.0})
    # One candidate per moment. Of equal times, the backward merge would take the last and the forward merge the first.
    moments = candidates.sort_values(["hours", "patient_id", name]).drop_duplicates(["patient_id", "hours"])
    moments = moments[["patient_id", "hours", name]].rename(columns={"hours": "candidate_hours"})
    rows = rows.sort_values("hours", kind="stable")
    index = rows.index
    matches = [
        pd.merge_asof(rows, moments, left_on="hours", right_on="candidate_hours", by="patient_id", direction=direction)
        for direction in ("backward", "forward")
    ]
    earlier, later = (
        match.assign(gap_hours=match["candidate_hours"] - match["hours"]).set_axis(index) for match in matches
    )
    use_later = later["gap_hours"].abs().lt(earlier["gap_hours"].abs()) | earlier["gap_hours"].isna() | only_later
    nearest = earlier.where(~use_later, later)
    return nearest[nearest["gap_hours"].abs() <= window_hours].drop(columns="candidate_hours")
