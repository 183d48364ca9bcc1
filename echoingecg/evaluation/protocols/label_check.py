"""Finds endpoints that no label would answer, before anything is trained for them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from echoingecg.evaluation.protocols.labels import OUTCOMES, row_outcomes
from echoingecg.recipe import EvaluationSettings
from echoingecg.recipe.evaluation import MeasurementEndpoint

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
