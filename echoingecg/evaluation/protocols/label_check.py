"""Counts the labels that an export has for each endpoint, and finds endpoints that no label would answer."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.evaluation.protocols.labels import OUTCOMES, ecg_values, label_ecgs, row_outcomes, sex_of_patients
from echoingecg.recipe import Endpoint, EvaluationSettings
from echoingecg.recipe.evaluation import MeasurementEndpoint
from echoingecg.recipe.stages import PairsSettings

_MEASUREMENTS_SHOWN = 10
_LABELLED, _ABSENT = OUTCOMES[-1], OUTCOMES[0]

MeasurementCounts = Mapping[tuple[str, str], int]  # measurement and unit -> results


@dataclass(frozen=True)
class Unlabelled:
    """An endpoint without a single label.

    Attributes:
        endpoint: the question.
        side: of the split; empty for the whole export.
        outcomes: what became of its rows, if there are any: a name of labels.OUTCOMES -> rows.
    """

    endpoint: MeasurementEndpoint
    side: str
    outcomes: Mapping[str, int]

    def __str__(self) -> str:
        """`'LVEF < 40 %' (lvef in %) on the training side (12 unit_mismatch)`."""
        unit = f" in {self.endpoint.unit}" if self.endpoint.unit else ""
        rows = ", ".join(f"{number} {outcome}" for outcome, number in self.outcomes.items())
        place = f" on the {self.side} side" if self.side else ""
        names = " or ".join(self.endpoint.measurements)
        return f"'{self.endpoint.name}' ({names}{unit}){place}" + (f" ({rows})" if rows else "")


@dataclass(frozen=True)
class LabelCounts:
    """ECGs by what an endpoint's measurement makes of them.

    Attributes:
        endpoint: a question, or a number to predict.
        labels: ECGs with label 1, and with label 0; for a number to predict those with a value, and 0.
        outcomes: ECGs that have the measurement and no label: a name of labels.OUTCOMES -> ECGs.
    """

    endpoint: MeasurementEndpoint
    labels: tuple[int, int]
    outcomes: Mapping[str, int]

    def __str__(self) -> str:
        """`LVEF < 40 %: 12 positive, 80 negative (3 between)`."""
        ones, zeros = self.labels
        counts = f"{ones:,} positive, {zeros:,} negative"
        rest = ", ".join(f"{number:,} {outcome}" for outcome, number in self.outcomes.items())
        counts = counts if isinstance(self.endpoint, Endpoint) else f"{ones:,} values"
        return f"{self.endpoint.name}: {counts}" + (f" ({rest})" if rest else "")


def count_labels(
    settings: EvaluationSettings, pairing: PairsSettings, tables: Mapping[str, pa.Table]
) -> Iterator[LabelCounts]:
    """Yields the labels of each endpoint that stage `pairs` would give, if every listed ECG could be read and used.

    Args:
        settings: endpoints and regressions are read.
        pairing: which exam labels which ECG.
        tables: `ecgs`, `echoes`, `measurements` and `subgroups` of a catalog.
    """
    from echoingecg.pairs.labels import COLUMNS
    from echoingecg.pairs.labels import label_ecgs as labels_of_exams
    from echoingecg.pairs.match import list_studies, to_frame  # pandas: not for a cached run
    from echoingecg.pairs.split import FilterSteps

    ecgs = tables["ecgs"].select(["record_id", "patient_id", "hours"])
    record = np.array(ecgs["record_id"].to_pylist(), dtype=np.str_)
    owner = dict(zip(record.tolist(), ecgs["patient_id"].to_pylist(), strict=True))
    signals = to_frame(ecgs).assign(recording_id=record)
    measured = to_frame(tables["measurements"]).rename(columns={"record_id": "recording_id"})
    rows = labels_of_exams(
        measured, list_studies(tables["echoes"]), signals, pairing.measurement_window_hours, pairing.labels,
        FilterSteps("labels"),
    )[list(COLUMNS)]  # fmt: skip
    labels, record = pa.Table.from_pandas(rows, preserve_index=False), np.sort(record)
    stated = tables["subgroups"].filter(pc.is_in(tables["subgroups"]["record_id"], ecgs["record_id"].combine_chunks()))
    patient = np.array([owner[name] for name in stated["record_id"].to_pylist()], dtype=np.str_)
    sexes = np.array(pc.fill_null(stated["sex"], "").to_pylist(), dtype=np.str_)
    known = sex_of_patients(patient, sexes) if len(patient) else {}
    sex = np.array([known.get(owner[name], "") for name in record.tolist()], dtype=np.str_)
    for endpoint in (*settings.endpoints, *settings.regressions):
        if isinstance(endpoint, Endpoint):
            label = label_ecgs(endpoint, labels, record, sex)
            number, outcomes = (int((label.label == 1).sum()), int((label.label == 0).sum())), label.counts()
        else:
            values = ecg_values(endpoint, labels, record)
            number, outcomes = (int(values.known.sum()), 0), values.counts()
        rest = {name: count for name, count in outcomes.items() if count and name not in (_ABSENT, _LABELLED)}
        yield LabelCounts(endpoint, number, rest)


def unlabelled(
    settings: EvaluationSettings, rows: pa.Table, side: str, sex: Mapping[str, str] | None
) -> Iterator[Unlabelled]:
    """Yields the endpoints, yes/no questions and numbers, that no row gives a label or a value.

    Args:
        settings: endpoints and regressions are read.
        rows: columns `patient_id`, `measurement`, `value`, `upper`, `words` and `unit` as in pairs.LABELS.
        side: where the rows come from, for the message.
        sex: F or M of a patient, for thresholds that depend on it; None takes every sex for known.
    """
    for endpoint in (*settings.endpoints, *settings.regressions):
        of_endpoint = rows.filter(pc.is_in(rows["measurement"], pa.array(endpoint.measurements, pa.string())))
        patients = of_endpoint["patient_id"].to_pylist()
        known = np.array(["F" if sex is None else sex.get(patient, "") for patient in patients], dtype="<U1")
        outcomes = Counter(OUTCOMES[index] for index in row_outcomes(endpoint, of_endpoint, known).tolist())
        if not outcomes[_LABELLED]:
            yield Unlabelled(endpoint, side, {name: outcomes[name] for name in OUTCOMES if outcomes[name]})


def describe(faults: list[Unlabelled], measured: MeasurementCounts) -> str:
    """One line: which endpoint has no label, and the commonest measurements that the export has.

    Args:
        faults: at least one.
        measured: of the whole export.
    """
    more = f", nor have {len(faults) - 1} more" if len(faults) > 1 else ""
    ranked = sorted(measured.items(), key=lambda item: (-item[1], item[0]))[:_MEASUREMENTS_SHOWN]
    export = ", ".join(f"{name} [{unit}] {number}" for (name, unit), number in ranked) or "no measurement"
    return f"endpoint {faults[0]} has no label{more}; the export has {export}"
