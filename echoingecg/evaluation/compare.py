"""Has an export drifted from what a student was trained on? Measures with sizes, and a verdict by the recipe's rule.

Two students on the same test patients: paired differences, and what the recipe's rule makes of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from data_contracts.monitoring import DRIFT, NEW, TRAINED, EndpointComparison, Verdict
from echoingecg.common import UserError
from echoingecg.evaluation.data.inputs import strings
from echoingecg.evaluation.metrics import bootstrap, classification, selective, shift
from echoingecg.evaluation.protocols.labels import NO_LABEL, label_studies, sex_of_patients
from echoingecg.recipe import DriftSettings, Endpoint, EvaluationSettings
from echoingecg.recipe.evaluation import PromotionSettings


def compare(champion: pa.Table, challenger: pa.Table, rule: PromotionSettings) -> tuple[EndpointComparison, ...]:
    """Every endpoint of the champion, on the champion's test ECGs.

    Args:
        champion: evaluation.PREDICTIONS of the champion.
        challenger: the same of the challenger; it may know more test ECGs, they are left out.
        rule: protocol, metric, draws.

    Raises:
        UserError: the challenger was not judged on all these ECGs with the same labels, or there is none.
    """
    ours, theirs = (_test(table, rule.protocol) for table in (champion, challenger))
    keys = ["endpoint", "record_id", "patient_id", "label"]
    both = ours.merge(theirs, on=keys, how="left", suffixes=("", "_of_challenger"), sort=False)
    if missing := int(both["score_of_challenger"].isna().sum()):
        raise UserError(
            f"the challenger lacks {missing} of the champion's {len(ours)} test labels: judge both on the same pairs "
            "and endpoints, with the same split"
        )
    if both.empty:
        raise UserError(f"the champion has no test prediction under protocol '{rule.protocol}'")
    return tuple(_compared(str(name), of, rule) for name, of in both.groupby("endpoint", sort=False))


def decide(compared: tuple[EndpointComparison, ...], rule: PromotionSettings) -> tuple[bool, str]:
    """Whether the challenger is promoted, and why.

    Raises:
        UserError: the rule names an endpoint that was not compared.
    """
    first = rule.endpoint or compared[0].endpoint
    if first not in [one.endpoint for one in compared]:
        raise UserError(f"promotion.endpoint: '{first}' was not judged")
    obstacles = list(_obstacles(compared, first, rule))
    return not obstacles, "; ".join(obstacles) or f"gains at {first}, loses too much nowhere"


def _obstacles(compared: tuple[EndpointComparison, ...], first: str, rule: PromotionSettings) -> Iterator[str]:
    for one in compared:
        floor = rule.least_gain if one.endpoint == first else -rule.most_loss
        if one.low is None or one.gain is None:
            yield f"{one.endpoint}: no interval, a class is absent or of one patient"
        elif one.low <= floor:
            yield f"{one.endpoint}: gain {one.gain:+.3f}, its lower end {one.low:+.3f} is not above {floor:+.3f}"


def _compared(endpoint: str, of: pd.DataFrame, rule: PromotionSettings) -> EndpointComparison:
    label, patients = of["label"].to_numpy(), bootstrap.Patients.of(of["patient_id"].to_numpy().astype(np.str_))
    judged = [(of[f"score{one}"].to_numpy(), of[f"decision{one}"].to_numpy()) for one in ("", "_of_challenger")]
    name = str(rule.metric)
    champion, challenger = ({name: classification.binary_metrics(label, *one, patients)[name]} for one in judged)
    found = bootstrap.paired_differences(challenger, champion, patients, rule.draws, rule.seed)[name]
    return EndpointComparison(
        endpoint=endpoint,
        champion=found.second,
        challenger=found.first,
        low=found.low,
        high=found.high,
        records=len(of),
        patients=of["patient_id"].nunique(),
        positives=int(label.sum()),
    )


def _test(table: pa.Table, protocol: str) -> pd.DataFrame:
    frame = table.to_pandas()
    chosen = frame[(frame["split"] == "test") & (frame["protocol"] == protocol)]
    return chosen[["endpoint", "record_id", "patient_id", "label", "score", "decision"]]


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
        return np.sort(order[np.sort(first)[: shift.MOST]])

    def strata(self, age_bands: Sequence[float]) -> Mapping[str, np.ndarray]:
        """As strata.strata_of, of each ECG."""
        return selective.strata_of(strings(self.records["record_id"]), self.subgroups, self.records, age_bands)


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
    shifts = shift.Shifts(TRAINED, NEW, rule.draws, rule.seed)
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
