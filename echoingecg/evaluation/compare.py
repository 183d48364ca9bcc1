"""Comparisons: a challenger with the champion or any students on the same test ECGs, a new export with an earlier one.

All give measures with intervals, two of them a decision by the recipe's rule: whether to promote, whether the export
drifted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from data_contracts.monitoring import DRIFT, NEW, TRAINED, EndpointComparison, SharedLabels, Verdict
from echoingecg.common import UserError
from echoingecg.evaluation.data.inputs import strings
from echoingecg.evaluation.metrics import bootstrap, classification, selective, shift
from echoingecg.evaluation.protocols.labels import NO_LABEL, label_rows, sex_of_patients
from echoingecg.recipe import DriftSettings, Endpoint, EvaluationSettings
from echoingecg.recipe.evaluation import PromotionSettings


def compare_students(
    champion: pa.Table, challenger: pa.Table, rule: PromotionSettings
) -> tuple[EndpointComparison, ...]:
    """Compares two students at every endpoint of the champion, on the test ECGs that both were judged on.

    The label is the challenger's, of the newer export: neither score nor decision of a test ECG depends on it.

    Args:
        champion: evaluation.PREDICTIONS of the champion.
        challenger: evaluation.PREDICTIONS of the challenger.
        rule: protocol, metric, draws.

    Raises:
        UserError: the champion has no test prediction under the protocol.
    """
    rows = _joined_tests(champion, challenger, rule)
    shared = rows[rows["_merge"] == "both"]
    return tuple(
        _compared(str(name), of_endpoint, rule) for name, of_endpoint in shared.groupby("endpoint", sort=False)
    )


def shared_labels(champion: pa.Table, challenger: pa.Table, rule: PromotionSettings) -> tuple[SharedLabels, ...]:
    """Counts, for every endpoint of the champion, which test labels both have and what became of the others.

    Args and errors: see `compare_students`.
    """
    rows = _joined_tests(champion, challenger, rule)
    known = set(rows.loc[rows["_merge"] != "left_only", "patient_id"])
    return tuple(_counted(str(name), of_endpoint, known) for name, of_endpoint in rows.groupby("endpoint", sort=False))


def _counted(endpoint: str, rows: pd.DataFrame, known: set[str]) -> SharedLabels:
    vanished, shared = rows[rows["_merge"] == "left_only"], rows[rows["_merge"] == "both"]
    return SharedLabels(
        endpoint=endpoint,
        champion=len(vanished) + len(shared),
        shared=len(shared),
        changed=int((shared["label"] != shared["label_of_champion"]).sum()),
        vanished=len(vanished),
        absent_patients=len(set(vanished["patient_id"]) - known),
        added=int((rows["_merge"] == "right_only").sum()),
    )


def _joined_tests(champion: pa.Table, challenger: pa.Table, rule: PromotionSettings) -> pd.DataFrame:
    """Test predictions of both at the champion's endpoints, a row for each ECG and endpoint that either has."""
    first, second = (_test(table, rule.protocol) for table in (champion, challenger))
    if first.empty:
        raise UserError(f"the champion has no test prediction under protocol '{rule.protocol}'")
    names = list(dict.fromkeys(first["endpoint"]))
    second = second[second["endpoint"].isin(names)]
    joined = first.merge(
        second, "outer", on=["endpoint", "record_id", "patient_id"], suffixes=("_of_champion", ""), indicator=True
    )
    position = joined["endpoint"].map(names.index)  # an outer join sorts
    return joined.iloc[position.argsort(kind="stable")]


def frozen(labels: Sequence[SharedLabels], rule: PromotionSettings) -> str:
    """Why the two cannot be compared, whatever the challenger is like: too few labels are left; empty if they can."""
    lost = [row for row in labels if row.shared < max(rule.least_shared * row.champion, 1)]
    return "; ".join(
        f"{row.endpoint}: {row.shared} of the champion's {row.champion} test labels are left" for row in lost
    )


def decide_promotion(compared: tuple[EndpointComparison, ...], rule: PromotionSettings) -> tuple[bool, str]:
    """Whether the challenger is promoted, and the reason.

    Raises:
        UserError: the rule names an endpoint that was not compared.
    """
    main_endpoint = rule.endpoint or compared[0].endpoint
    if main_endpoint not in [comparison.endpoint for comparison in compared]:
        raise UserError(f"promotion.endpoint: '{main_endpoint}' was not judged")
    obstacles = list(_obstacles(compared, main_endpoint, rule))
    return not obstacles, "; ".join(obstacles) or f"gains at {main_endpoint}, loses too much nowhere"


def _obstacles(compared: tuple[EndpointComparison, ...], main_endpoint: str, rule: PromotionSettings) -> Iterator[str]:
    for comparison in compared:
        lowest_allowed = rule.least_gain if comparison.endpoint == main_endpoint else -rule.most_loss
        if comparison.low is None or comparison.gain is None:
            yield f"{comparison.endpoint}: no interval, a class is absent or of one patient"
        elif comparison.low <= lowest_allowed:
            gain = f"gain {comparison.gain:+.3f}, its lower end {comparison.low:+.3f}"
            yield f"{comparison.endpoint}: {gain} is not above {lowest_allowed:+.3f}"


def _compared(endpoint: str, rows: pd.DataFrame, rule: PromotionSettings) -> EndpointComparison:
    label, metric = rows["label"].to_numpy().astype(np.int8), str(rule.metric)
    patients = bootstrap.Patients.from_names(rows["patient_id"].to_numpy().astype(np.str_))

    def metric_of(suffix: str) -> dict[str, bootstrap.Metric]:
        score, decision = (rows[name + suffix].to_numpy() for name in ("score", "decision"))
        return {metric: classification.binary_metrics(label, score, decision, patients)[metric]}

    difference = bootstrap.paired_differences(
        metric_of(""), metric_of("_of_champion"), patients, rule.draws, rule.seed
    )[metric]
    return EndpointComparison(
        endpoint=endpoint,
        champion=difference.second,
        challenger=difference.first,
        low=difference.low,
        high=difference.high,
        records=len(rows),
        patients=rows["patient_id"].nunique(),
        positives=int(label.sum()),
    )


HEADLINE = (
    classification.AUROC,
    classification.AUPRC,
    classification.BALANCED_ACCURACY,
    classification.SENSITIVITY,
    classification.SPECIFICITY,
)

_NO_DIFFERENCE = bootstrap.Difference(None, None, None, None, None, None)  # of the first student


def compare_any(predictions: Mapping[str, pa.Table], rule: PromotionSettings) -> list[dict[str, Any]]:
    """Headline metrics of two or more students on the test labels that they share, and differences from the first.

    A label is shared where all of them were tested on the ECG, and their exports agree on the label.

    Args:
        predictions: evaluation.PREDICTIONS of each student, by name; the others are compared with the first.
        rule: protocol, draws, seed.

    Returns:
        A row for each endpoint that all have, student and metric: endpoint, student, metric, value, low and high (95 %
        over patients); difference, difference_low, difference_high and p against the first, None for the first itself;
        records, patients and positives that are shared, changed (labels on which the exports differ) and alone (test
        labels of this student that are not shared). The differences are of the same resamples of patients.

    Raises:
        UserError: fewer than two students, one without test predictions under the protocol, or no shared label.
    """
    if len(predictions) < 2:
        raise UserError("name two or more different students")
    frames = {name: _test(table, rule.protocol) for name, table in predictions.items()}
    if missing := [name for name, frame in frames.items() if frame.empty]:
        raise UserError(f"{', '.join(missing)}: no test prediction under protocol '{rule.protocol}'")
    asked = [list(dict.fromkeys(frame["endpoint"])) for frame in frames.values()]
    rows: list[dict[str, Any]] = []
    for endpoint in (name for name in asked[0] if all(name in names for names in asked[1:])):
        rows += _compared_at(
            endpoint, {name: frame[frame["endpoint"] == endpoint] for name, frame in frames.items()}, rule
        )
    if not rows:
        raise UserError(f"{', '.join(frames)} share no test label: their endpoints or their test ECGs differ")
    return rows


def _compared_at(endpoint: str, frames: Mapping[str, pd.DataFrame], rule: PromotionSettings) -> list[dict[str, Any]]:
    """Rows of `compare_any` for one endpoint; none where no label is shared."""
    indexed = {name: frame.set_index(["record_id", "patient_id"]) for name, frame in frames.items()}
    first, *others = indexed.values()
    common = first.index
    for frame in others:
        common = common.intersection(frame.index)
    common = common.sort_values()
    labels = np.stack([frame.loc[common, "label"].to_numpy() for frame in indexed.values()])
    agreed = (labels == labels[0]).all(axis=0)
    shared = common[agreed]
    if shared.empty:
        return []
    label = labels[0, agreed].astype(np.int8)
    patients = bootstrap.Patients.from_names(shared.get_level_values("patient_id").to_numpy().astype(np.str_))
    counts = {
        "records": len(shared),
        "patients": patients.count,
        "positives": int(label.sum()),
        "changed": int((~agreed).sum()),
    }
    metrics: dict[str, dict[str, bootstrap.Metric]] = {}
    for name, frame in indexed.items():
        score, decision = (frame.loc[shared, column].to_numpy() for column in ("score", "decision"))
        judged = classification.binary_metrics(label, score, decision, patients)
        metrics[name] = {metric: judged[metric] for metric in HEADLINE}
    reference, rows = next(iter(metrics)), []
    for name, of_student in metrics.items():
        estimates = bootstrap.estimate_metrics(of_student, patients, rule.draws, rule.seed)
        if name == reference:
            pairs = dict.fromkeys(of_student, _NO_DIFFERENCE)
        else:
            pairs = bootstrap.paired_differences(of_student, metrics[reference], patients, rule.draws, rule.seed)
        for metric, estimate in estimates.items():
            pair = pairs[metric]
            row: dict[str, Any] = {"endpoint": endpoint, "student": name, "metric": metric, "value": estimate.value}
            row |= {"low": estimate.low, "high": estimate.high, "difference": pair.difference}
            row |= {"difference_low": pair.low, "difference_high": pair.high, "p": pair.p}
            rows.append(row | counts | {"alone": len(indexed[name]) - len(common)})
    return rows


def _test(table: pa.Table, protocol: str) -> pd.DataFrame:
    frame = table.to_pandas()
    chosen = frame[(frame["split"] == "test") & (frame["protocol"] == protocol)]
    return chosen[["endpoint", "record_id", "patient_id", "label", "score", "decision"]]


@dataclass(frozen=True)
class DriftSide:
    """ECGs and echo measurements of one of two exports that are compared.

    Attributes:
        records: ecg.RECORDS of the side.
        subgroups: catalog.SUBGROUPS.
        measurements: catalog.MEASUREMENTS of the side.
    """

    records: pa.Table
    subgroups: pa.Table
    measurements: pa.Table

    @property
    def patient(self) -> np.ndarray:
        """Patient of each ECG, (n,) str."""
        return strings(self.records["patient_id"])

    def embedded_rows(self, seed: int) -> np.ndarray:
        """Rows of the ECGs to embed, one for each patient, at most shift.MAX_ECGS_PER_SIDE: (k,) int64, ascending."""
        order = np.random.default_rng(seed).permutation(self.records.num_rows)
        _, first = np.unique(self.patient[order], return_index=True)
        return np.sort(order[np.sort(first)[: shift.MAX_ECGS_PER_SIDE]])

    def strata(self, age_bands: Sequence[float]) -> Mapping[str, np.ndarray]:
        """The level of each ECG in every stratum: see `selective.subgroup_levels`."""
        return selective.subgroup_levels(strings(self.records["record_id"]), self.subgroups, self.records, age_bands)


def measure_drift(
    trained: DriftSide,
    new: DriftSide,
    means: tuple[np.ndarray, np.ndarray],
    settings: EvaluationSettings,
    rule: DriftSettings,
    typical: tuple[np.ndarray, np.ndarray] | None = None,
) -> pa.Table:
    """Measures how far two exports lie apart: embeddings, typicality, prevalence, subgroups and quality findings.

    Args:
        trained, new: the sides; a patient may be on both.
        means: mean embeddings of the ECGs in `embedded_rows` of each side.
        settings: the evaluation's endpoints and age bands.
        rule: limits, draws, seed.
        typical: whether each of the same ECGs is typical by the student's reading card; None without a measure.

    Returns:
        data_contracts.monitoring.DRIFT, one row for each measure.
    """
    sides, comparison = (trained, new), shift.SideComparison(TRAINED, NEW, rule.draws, rule.seed)
    patient, side_name = _joined([side.patient for side in sides])
    embedded_patient, embedded_side = _joined([side.patient[side.embedded_rows(rule.seed)] for side in sides])
    rows = [*comparison.embedding(np.concatenate(means), embedded_side, embedded_patient)]
    if typical is not None:
        rows += comparison.share("share", "not typical", ~np.concatenate(typical), embedded_side, embedded_patient)
    for endpoint in settings.endpoints:
        labels, owners = zip(*(_labels(side, endpoint) for side in sides), strict=True)
        owner, owner_side = _joined(owners)
        is_positive = np.concatenate(labels) == 1
        rows += comparison.share("prevalence", endpoint.name, is_positive, owner_side, owner)
    strata = [side.strata(settings.age_bands) for side in sides]
    unknown = [np.full(side.records.num_rows, "") for side in sides]
    joined = {
        name: np.concatenate([levels.get(name, blank) for levels, blank in zip(strata, unknown, strict=True)])
        for name in sorted({name for levels in strata for name in levels} - {"quality"})
    }
    rows += comparison.shares(joined, side_name, patient)
    for column, flags in (("record_findings", RECORD_FLAGS), ("lead_findings", QUALITY_FLAGS)):
        mask = np.concatenate([side.records[column].to_numpy() for side in sides])
        for name, bit in flags.items():
            if (is_flagged := (mask & bit) > 0).any():
                rows += comparison.share("share", f"finding: {name}", is_flagged, side_name, patient)
    return DRIFT.build([row | _with_limit(row, rule) for row in rows])


def drift_verdict(measures: pa.Table, patients: int, rule: DriftSettings) -> tuple[Verdict, str]:
    """What DRIFT comes to, and why.

    Args:
        found: DRIFT.
        patients: in the new ECGs.
        rule: of the recipe.
    """
    if patients < rule.least_patients:
        return "too few", f"{patients} patients with new ECGs, the recipe asks for {rule.least_patients}"
    beyond = measures.filter(measures["drifted"]).to_pylist()
    summary = f"{len(beyond)} of {measures.num_rows} measures are beyond their limits"
    named = "; ".join(f"{row['name']} {row['value']:+.3f} (limit {row['limit']:g})" for row in beyond)
    return ("drift", f"{summary}: {named}") if beyond else ("no drift", summary)


def _with_limit(row: Mapping[str, Any], rule: DriftSettings) -> dict[str, Any]:
    if row["measure"] == "embedding":
        limit, is_certain = rule.embedding, row["p"] < rule.p
    else:
        limit = rule.prevalence if row["measure"] == "prevalence" else rule.share
        is_certain = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    return {"limit": limit, "drifted": bool(is_certain and abs(row["value"]) > limit)}


def _labels(side: DriftSide, endpoint: Endpoint) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the side's measurements, (m,), and their patients; measurements without a label are left out."""
    table = side.measurements
    chosen = table.filter(pc.is_in(table["measurement"], pa.array(endpoint.measurements)))
    owner, stated = strings(chosen["patient_id"]), side.strata(()).get("sex")
    sex = {} if stated is None else sex_of_patients(side.patient, stated)
    known = np.array([sex.get(patient, "") for patient in owner.tolist()], dtype="<U1")
    label = label_rows(endpoint, chosen, known).label
    return label[label != NO_LABEL], owner[label != NO_LABEL]


def _joined(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Values of both sides, concatenated, and the name of the side of each."""
    return np.concatenate(values), np.repeat([TRAINED, NEW], [len(side_values) for side_values in values])
