"""The split of patients: by a keyed hash, so that nobody changes sides when an export grows; or as it was published.

Its conditions, like those on pairs and labels, are counted by `FilterSteps`.
"""

import hmac
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.conventions import Split
from echoingecg.common import UserError
from echoingecg.recipe.stages import PairsSettings, SplitShares, StatedSplit, plain_value

_DIGEST_BYTES = 8  # 2**64 positions on the line from 0 to 1
_HELD_OUT: tuple[Split, ...] = ("train", "validation", "test")  # the most held-out side is the last
_VALUES_SHOWN = 12


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


def split_patients(
    patients: Collection[str], measurements: pa.Table, settings: PairsSettings, steps: FilterSteps
) -> dict[str, Split]:
    """Returns the side of each patient: by the keyed hash, or with `settings.split_by` as published.

    Where the statements about a patient's ECGs and echo studies name several sides, the patient is on the most held-out
    one: test, then validation, then train. So nobody trains whom the publisher tests on. A patient without a statement
    is on the train side: the two others are the published ones and nobody else's.

    Args:
        patients: pseudonyms.
        measurements: catalog table MEASUREMENTS; a row that names the split counts if it states an ECG or a study.
        settings: the recipe's section `pairs`.
        steps: with `split_by`, records the patients, those with a statement, and those of one side.

    Raises:
        UserError: with `split_by`, no ECG and no study states a value that the recipe lists.
    """
    if settings.split_by is None:
        return {patient: assign_split(patient, settings.split_key, settings.split) for patient in patients}
    named = stated_sides(measurements, settings.split_by)
    stated = [patient for patient in patients if patient in named]
    of_one_side = [patient for patient in stated if len(named[patient]) == 1]
    steps.keep("patients", pd.DataFrame(index=list(patients)))
    steps.keep(
        f"{settings.split_by.measurement} is stated for an ECG or a study; the others train", pd.DataFrame(index=stated)
    )
    steps.keep("it names one side; the others are on the most held-out", pd.DataFrame(index=of_one_side))
    return {patient: max(named.get(patient, {"train"}), key=_HELD_OUT.index) for patient in patients}


def stated_sides(measurements: pa.Table, rule: StatedSplit) -> dict[str, set[Split]]:
    """Returns the sides that the statements about each patient's ECGs and echo studies name.

    Args:
        measurements: catalog table MEASUREMENTS.
        rule: which statement, and which of its values mean which side.

    Raises:
        UserError: no ECG and no study states a value that the rule lists.
    """
    is_owned = pc.or_(*(pc.is_valid(measurements[name]) for name in ("record_id", "study_id")))
    is_stated = pc.and_(pc.equal(measurements["measurement"], rule.measurement), is_owned)
    rows = measurements.filter(is_stated).select(["patient_id", "value", "words"]).to_pylist()
    values = [plain_value(row["value"] if row["words"] is None else row["words"]) for row in rows]
    listed: dict[str, Split] = {plain_value(value): "validation" for value in rule.validation}
    listed |= {plain_value(value): "test" for value in rule.test}
    if absent := sorted(listed.keys() - set(values)):
        held = ", ".join(f"'{value}'" for value, _ in Counter(values).most_common(_VALUES_SHOWN))
        what = f"they state {held}" if values else "none states it at all, or catalog.measurements does not keep it"
        raise UserError(f"pairs.split_by: no ECG and no study states {rule.measurement} '{absent[0]}'; {what}")
    sides: dict[str, set[Split]] = {}
    for row, value in zip(rows, values, strict=True):
        sides.setdefault(row["patient_id"], set()).add(listed.get(value, "train"))
    return sides


def assign_split(patient_id: str, key: str, shares: SplitShares) -> Split:
    """Returns the side of the split that a patient is on. It depends only on the arguments.

    HMAC-SHA256(key, patient_id) is a uniform number in [0, 1); the shares of train, validation and
    test divide that line in this order.

    Args:
        patient_id: pseudonym of the patient.
        key: key of the hash; another key gives an independent split.
        shares: shares of the sides; they sum to 1.
    """
    digest = hmac.digest(key.encode(), patient_id.encode(), "sha256")
    position = int.from_bytes(digest[:_DIGEST_BYTES], "big") / 2 ** (8 * _DIGEST_BYTES)
    if position < shares.train:
        return "train"
    return "validation" if position < 1 - shares.test else "test"
