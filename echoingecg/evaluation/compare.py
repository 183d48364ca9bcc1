"""Has an export drifted from what a student was trained on? Measures with sizes, and a verdict by the recipe's rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from data_contracts.monitoring import DRIFT, NEW, TRAINED, Verdict
from echoingecg.evaluation.data.inputs import strings
from echoingecg.evaluation.metrics.shift import MOST
from echoingecg.evaluation.protocols.labels import NO_LABEL, label_studies, sex_of_patients
from echoingecg.evaluation.shift_rows import Shifts
from echoingecg.evaluation.strata import strata_of
from echoingecg.recipe import DriftSettings, Endpoint, EvaluationSettings


@dataclass(frozen=True)
class Side:
    """ECGs and echo measurements that are compared.

    Attributes:
        records: ecg.RECORDS, those of the side.
        subgroups: catalog.SUBGROUPS.
        measurements: catalog.MEASUREMENTS, those of the side.
    """

    records: pa.Table
    subgroups: pa.Table
    measurements: pa.Table

    @property
    def patient(self) -> np.ndarray:
        """Of each ECG, (n,) str."""
        return strings(self.records["patient_id"])

    def drawn(self, seed: int) -> np.ndarray:
        """Rows of the ECGs that are embedded, one a patient and at most shift.MOST; (k,) int64, ascending."""
        order = np.random.default_rng(seed).permutation(self.records.num_rows)
        _, first = np.unique(self.patient[order], return_index=True)
        return np.sort(order[np.sort(first)[:MOST]])

    def strata(self, age_bands: Sequence[float]) -> Mapping[str, np.ndarray]:
        """As strata.strata_of, of each ECG."""
        return strata_of(strings(self.records["record_id"]), self.subgroups, self.records, age_bands)


def measure_drift(
    trained: Side, new: Side, means: tuple[np.ndarray, np.ndarray], asked: EvaluationSettings, rule: DriftSettings
) -> pa.Table:
    """DRIFT: embeddings, endpoints' prevalence, subgroups and quality findings of both sides.

    Args:
        trained, new: the sides; patients may stand on both.
        means: mean embeddings of their `drawn` ECGs.
        asked: the evaluation's endpoints and age bands.
        rule: limits, draws, seed.
    """
    shifts = Shifts(TRAINED, NEW, rule.draws, rule.seed)
    patient, side = _joined([trained.patient, new.patient])
    own = [one.patient[one.drawn(rule.seed)] for one in (trained, new)]
    drawn, drawn_side = _joined(own)
    rows = [*shifts.embedding(np.concatenate(means), drawn_side, drawn)]
    for endpoint in asked.endpoints:
        told = [_labels(one, endpoint) for one in (trained, new)]
        owner, of = _joined([patients for _, patients in told])
        rows += shifts.share("prevalence", endpoint.name, np.concatenate([label for label, _ in told]) == 1, of, owner)
    strata = [one.strata(asked.age_bands) for one in (trained, new)]
    names = sorted({name for one in strata for name in one} - {"quality"})
    blank = [np.full(one.records.num_rows, "") for one in (trained, new)]
    joined = {name: np.concatenate([of.get(name, no) for of, no in zip(strata, blank, strict=True)]) for name in names}
    rows += shifts.shares(joined, side, patient)
    for column, flags in (("record_findings", RECORD_FLAGS), ("lead_findings", QUALITY_FLAGS)):
        mask = np.concatenate([one.records[column].to_numpy() for one in (trained, new)])
        for name, bit in flags.items():
            if (holds := (mask & bit) > 0).any():
                rows += shifts.share("share", f"finding: {name}", holds, side, patient)
    return DRIFT.build([row | _judged(row, rule) for row in rows])


def verdict_on(found: pa.Table, patients: int, rule: DriftSettings) -> tuple[Verdict, str]:
    """What DRIFT comes to, and why.

    Args:
        found: DRIFT.
        patients: in the new ECGs.
        rule: of the recipe.
    """
    if patients < rule.least_patients:
        return "too few", f"{patients} patients with new ECGs, the recipe asks for {rule.least_patients}"
    beyond = found.filter(found["drifted"]).to_pylist()
    says = f"{len(beyond)} of {found.num_rows} measures are beyond their limits"
    named = "; ".join(f"{row['name']} {row['value']:+.3f} (limit {row['limit']:g})" for row in beyond)
    return ("drift", f"{says}: {named}") if beyond else ("no drift", says)


def _judged(row: Mapping[str, Any], rule: DriftSettings) -> dict[str, Any]:
    if row["measure"] == "embedding":
        limit, surely = rule.embedding, row["p"] < rule.p
    else:
        limit = rule.prevalence if row["measure"] == "prevalence" else rule.share
        surely = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    return {"limit": limit, "drifted": bool(surely and abs(row["value"]) > limit)}


def _labels(one: Side, endpoint: Endpoint) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the measurements that have one, (m,), and their patients."""
    table, count = one.measurements, one.measurements.num_rows
    name = np.arange(count).astype(str)
    table = table.set_column(table.schema.get_field_index("study_id"), "study_id", pa.array(name.tolist(), pa.string()))
    chosen = table.filter(pc.equal(table["measurement"], endpoint.measurement))
    owner, stated = strings(chosen["patient_id"]), one.strata(()).get("sex")
    sex = {} if stated is None else sex_of_patients(one.patient, stated)
    known = np.array([sex.get(patient, "") for patient in owner.tolist()], dtype="<U1")
    label = label_studies(endpoint, chosen, strings(chosen["study_id"]), known).label
    return label[label != NO_LABEL], owner[label != NO_LABEL]


def _joined(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Both sides' values end to end, and the side of each."""
    return np.concatenate(values), np.repeat([TRAINED, NEW], [len(one) for one in values])
