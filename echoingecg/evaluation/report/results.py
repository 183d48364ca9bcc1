"""Everything that the figures, the report and the model card show, read from the artefact's tables.

Names and numbers as the figures and the report show them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.evaluation import METRICS, PREDICTIONS, RULES, TABLES
from data_contracts.evaluation_details import COHORT, LABELLED, QUESTION
from data_contracts.tables import TableContract
from echoingecg.evaluation.data import inputs, names
from echoingecg.evaluation.metrics import bootstrap, selective
from echoingecg.evaluation.protocols.classification import SHOWN_PROTOCOLS
from echoingecg.recipe import EvaluationSettings


@dataclass(frozen=True)
class GroupMetrics:
    """The rows of one endpoint, protocol and group, side by side."""

    estimates: dict[str, bootstrap.Estimate]
    patients: int
    records: int
    positives: int

    @property
    def negatives(self) -> int:
        return self.records - self.positives


@dataclass(frozen=True)
class EndpointScores:
    """The n labelled test ECGs of one endpoint, and what the protocols that figures show made of them.

    Attributes:
        endpoint: name.
        record_id: (n,) str.
        label: (n,) int8, 0 or 1.
        uncertainty: (n,) float64, mean log-variance.
        score, decision: (n,) float64 and int8 by protocol.
        threshold: by protocol.
    """

    endpoint: str
    record_id: np.ndarray
    label: np.ndarray
    uncertainty: np.ndarray
    score: dict[str, np.ndarray]
    decision: dict[str, np.ndarray]
    threshold: dict[str, float]

    @property
    def has_both_classes(self) -> bool:
        """Whether there is an ECG of each class, so that there is something to tell apart."""
        return len(np.unique(self.label)) == 2


@dataclass(frozen=True)
class EvaluationResults:
    """Results of one evaluation.

    Attributes:
        tables: by name, as data_contracts.evaluation has them.
        settings: of the same evaluation.
        provenance: of the artefacts behind it.
    """

    tables: Mapping[str, pa.Table]
    settings: EvaluationSettings
    provenance: inputs.Provenance

    @classmethod
    def read(cls, folder: Path, settings: EvaluationSettings, provenance: inputs.Provenance) -> Self:
        """Reads every table of the artefact. Raises ContractError when one is absent or breaks its contract."""
        return cls({contract.name: contract.read(folder) for contract in TABLES}, settings, provenance)

    def rows(self, contract: TableContract, **equal: str) -> list[dict[str, Any]]:
        """Rows of a table, in its order; those whose columns hold these values."""
        table = self.tables[contract.name]
        for name, value in equal.items():
            table = table.filter(pc.equal(table[name], value))
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows

    @cached_property
    def cohort(self) -> dict[str, dict[str, int]]:
        """Paired ECGs and their patients, by split."""
        return {row["split"]: {name: row[name] for name in ("ecgs", "patients")} for row in self.rows(COHORT)}

    def group_metrics(self) -> dict[tuple[str, str, str], GroupMetrics]:
        """By endpoint name, protocol and group."""
        groups: dict[tuple[str, str, str], GroupMetrics] = {}
        for row in self.rows(METRICS):
            key = (row["endpoint"], row["protocol"], row["group"])
            of_group = groups.setdefault(key, GroupMetrics({}, row["patients"], row["records"], row["positives"]))
            of_group.estimates[row["metric"]] = bootstrap.Estimate(row["value"], row["low"], row["high"])
        return groups

    def labelled(self, kind: str, endpoint: str) -> dict[str, dict[str, int]]:
        """Records and positives with a label, by split."""
        return {row["split"]: row for row in self.rows(LABELLED, kind=kind, endpoint=endpoint)}

    @cached_property
    def endpoint_scores(self) -> tuple[EndpointScores, ...]:
        """Endpoints with a labelled test ECG and a protocol that figures show, in the recipe's order."""
        table = self.tables[PREDICTIONS.name]
        table = table.filter(pc.equal(table["split"], "test"))
        names = [
            endpoint.name
            for endpoint in self.settings.endpoints
            if self.labelled(QUESTION, endpoint.name)["test"]["records"]
        ]
        scores = []
        for endpoint in names:
            threshold = {row["protocol"]: row["threshold"] for row in self.rows(RULES, endpoint=endpoint)}
            drawn = [protocol for protocol in threshold if protocol in SHOWN_PROTOCOLS]
            of_endpoint = table.filter(pc.equal(table["endpoint"], endpoint))
            parts = {protocol: of_endpoint.filter(pc.equal(of_endpoint["protocol"], protocol)) for protocol in drawn}
            if not parts:
                continue
            first = parts[drawn[0]]
            scores.append(
                EndpointScores(
                    endpoint=endpoint,
                    record_id=np.array(first["record_id"].to_pylist(), dtype=np.str_),
                    label=first["label"].to_numpy(),
                    uncertainty=first["uncertainty"].to_numpy(),
                    score={protocol: part["score"].to_numpy() for protocol, part in parts.items()},
                    decision={protocol: part["decision"].to_numpy() for protocol, part in parts.items()},
                    threshold={protocol: threshold[protocol] for protocol in drawn},
                )
            )
        return tuple(scores)


PROTOCOL_NAMES = {
    names.ZERO_SHOT: "Zero-shot",
    names.RANKED: "Ranked prompts",
    names.LINEAR_PROBE: "Linear probe",
    names.RIDGE: "Ridge regression",
    "fine_tune": "Fine-tuned",
    "lora": "Fine-tuned by LoRA",
    "scratch": "Same encoder from scratch",
    names.ECG_MEASUREMENTS: "ECG measurements, no network",
    names.TRAINING_MEAN: "Always the training mean",
}
SPACE_NAMES = {names.TEACHER: "teacher's texts", names.CENTRED: "centred"}
GROUP_NAMES = {
    selective.ALL: "All test ECGs",
    selective.LOW: "More certain half",
    selective.HIGH: "Less certain half",
}
PAIR_NAMES = {
    "ecg_echo": "ECG with echo study",
    "ecg_text": "ECG with report text",
    "labels": "Echo study with measurement",
}


NONE = "–"  # where there is no value


def protocol_name(protocol: str) -> str:
    """`Zero-shot, teacher's texts`; another model stands behind its protocol: `Linear probe (merl)`."""
    own, _, model = protocol.partition("@")
    spaces = [""]
    for suffix, name in reversed(SPACE_NAMES.items()):
        if own.endswith(suffix):
            own, spaces = own.removesuffix(suffix), [name, *spaces]
    text = ", ".join([PROTOCOL_NAMES[own], *spaces[:-1]])
    return f"{text} ({model})" if model else text


def model_name(model: str) -> str:
    """The student under test, or another model by its name."""
    return "Student" if model == names.STUDENT else model


def value_text(estimate: bootstrap.Estimate) -> str:
    """`0.87`, or a dash."""
    return NONE if estimate.value is None else _signed(estimate.value)


def interval_text(estimate: bootstrap.Estimate) -> str:
    """`0.80 to 0.93`, or nothing."""
    return (
        "" if estimate.low is None or estimate.high is None else f"{_signed(estimate.low)} to {_signed(estimate.high)}"
    )


def percent_text(estimate: bootstrap.Estimate) -> dict[str, str]:
    """`78.9` and `75.1 to 82.3`, in per cent; a dash and nothing where there is none."""
    value, low, high = (
        None if number is None else _signed(100 * number, 1) for number in (estimate.value, estimate.low, estimate.high)
    )
    return {"value": value or NONE, "interval": "" if low is None or high is None else f"{low} to {high}"}


def _signed(value: float, digits: int = 2) -> str:
    """With a minus sign that is as wide as a plus, and none before a zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def probability_text(probability: float, digits: int = 2) -> str:
    """Significant digits of the distance to the nearer end: `0.0045`, `0.31`, `0.9955`."""
    if probability <= 0.5:
        return f"{probability:.{digits}g}"
    return f"{1 - float(f'{1 - probability:.{digits}g}'):.12g}"


def probability_texts(probabilities: Sequence[float]) -> list[str]:
    """Each with as many digits as it takes to tell them apart, five at most: marks of an axis."""
    for digits in (2, 3, 4, 5):
        texts = [probability_text(probability, digits) for probability in probabilities]
        if len(set(texts)) == len(texts):
            break
    return texts
