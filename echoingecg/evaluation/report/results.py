"""Everything that the figures, the report and the model card show, read from the artefact's tables."""

from collections.abc import Mapping
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
from echoingecg.evaluation.data import inputs
from echoingecg.evaluation.metrics import bootstrap
from echoingecg.evaluation.protocols.classification import SHOWN_PROTOCOLS
from echoingecg.recipe import EvaluationSettings


@dataclass(frozen=True)
class GroupMetrics:
    """Metrics of one endpoint, protocol and group."""

    estimates: dict[str, bootstrap.Estimate]
    patients: int
    records: int
    positives: int

    @property
    def negatives(self) -> int:
        return self.records - self.positives


@dataclass(frozen=True)
class EndpointScores:
    """Scores of the n labelled test ECGs of one endpoint, by the protocols that figures show.

    Attributes:
        endpoint: its name.
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
        """Whether there is an ECG of each class."""
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
        """Rows of a table, in its order; with `column=value` only the rows that hold these values."""
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
        """Metrics by endpoint name, protocol and group."""
        groups: dict[tuple[str, str, str], GroupMetrics] = {}
        for row in self.rows(METRICS):
            key = (row["endpoint"], row["protocol"], row["group"])
            of_group = groups.setdefault(key, GroupMetrics({}, row["patients"], row["records"], row["positives"]))
            of_group.estimates[row["metric"]] = bootstrap.Estimate(row["value"], row["low"], row["high"])
        return groups

    def labelled(self, kind: str, endpoint: str) -> dict[str, dict[str, int]]:
        """Number of labelled records and of positives, by split."""
        return {row["split"]: row for row in self.rows(LABELLED, kind=kind, endpoint=endpoint)}

    @cached_property
    def endpoint_scores(self) -> tuple[EndpointScores, ...]:
        """Scores of each endpoint with a labelled test ECG and a shown protocol, in the recipe's order."""
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
