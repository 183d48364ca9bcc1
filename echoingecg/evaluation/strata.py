"""Parts of the test split: who the student fails on."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

FEWEST: Final = 20  # patients of a part that stands alone
SMALL: Final = "small groups"
FLAGGED: Final = ("no finding", "finding")


def strata_of(
    record_id: np.ndarray, subgroups: pa.Table, records: pa.Table, age_bands: Sequence[float]
) -> dict[str, np.ndarray]:
    """The level of each ECG in every stratum: (r,) str by name, empty where the export does not state it.

    Args:
        record_id: (r,) str.
        subgroups: catalog.SUBGROUPS; what the export states of its recordings, true of every window of one.
        records: ecg.RECORDS; gives the stratum quality: whether anything was found on the ECG.
        age_bands: lower ends of the age bands above the first, years.
    """
    found = _columns(records, record_id.tolist(), ("recording_id", "flagged_leads", "record_findings"))
    stated = _columns(subgroups, found["recording_id"], ("sex", "age", "site", "device", "rhythm"))
    bands = sorted(age_bands)
    levels = {name: [value or "" for value in stated[name]] for name in ("sex", "site", "device", "rhythm")}
    levels["age"] = [_band(age, bands) for age in stated["age"]]
    levels["quality"] = [
        "" if leads is None else FLAGGED[bool(leads or findings)]
        for leads, findings in zip(found["flagged_leads"], found["record_findings"], strict=True)
    ]
    return {name: np.array(of, dtype=np.str_) for name, of in sorted(levels.items()) if any(of)}


def parts(levels: np.ndarray, patient: np.ndarray) -> dict[str, np.ndarray]:
    """The records of each level, (n,) bool; nothing when there is one part alone, which says nothing of parts.

    Args:
        levels: (n,) str, empty where not known.
        patient: (n,) str; levels of under FEWEST patients, if several, are gathered as SMALL.
    """
    known = np.unique(levels[levels != ""]).tolist()
    small = [level for level in known if len(np.unique(patient[levels == level])) < FEWEST]
    found = {level: levels == level for level in known if len(small) < 2 or level not in small}
    if len(small) > 1:
        found[SMALL] = np.isin(levels, small)
    return found if len(found) > 1 else {}


def _columns(table: pa.Table, record_id: Sequence[str | None], names: Sequence[str]) -> Mapping[str, list]:
    """The columns in the order of `record_id`; None where the table lacks the ECG."""
    place = {name: at for at, name in enumerate(table["record_id"].to_pylist())}
    rows = pa.array([place.get(name) for name in record_id], pa.int64())
    return {name: table[name].take(rows).to_pylist() for name in names}


def _band(age: float | None, bands: Sequence[float]) -> str:
    """`under 40`, `40 to 64`, `80 and over`; empty without an age."""
    if age is None:
        return ""
    at = int(np.searchsorted(bands, age, side="right"))
    if at == 0:
        return f"under {bands[0]:g}" if bands else "any age"
    return f"{bands[at - 1]:g} to {bands[at] - 1:g}" if at < len(bands) else f"{bands[-1]:g} and over"
