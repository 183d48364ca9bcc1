"""Everything that the figures and the report show."""

from dataclasses import dataclass

import pyarrow as pa

from echoingecg.evaluation.inputs import Provenance
from echoingecg.evaluation.metrics import Estimate
from echoingecg.evaluation.protocols import EndpointResult
from echoingecg.evaluation.regression_results import RegressionResult
from echoingecg.evaluation.retrieval import Retrieval


@dataclass(frozen=True)
class GroupMetrics:
    """The rows of one endpoint, protocol and group, side by side."""

    estimates: dict[str, Estimate]
    patients: int
    records: int
    positives: int

    @property
    def negatives(self) -> int:
        return self.records - self.positives


@dataclass(frozen=True)
class EvaluationResults:
    """Results of one evaluation.

    Attributes:
        endpoints, regressions: in the recipe's order.
        metrics: evaluation.METRICS.
        retrieval: None when the test split has no pair.
        history: student.HISTORY.
        filters: pairs.FILTERS.
        provenance: of the inputs.
        bootstrap_draws: patient resamples behind each interval.
        few_shot_draws: choices of labelled ECGs behind each few-shot value.
        ecgs, patients: paired ECGs and their patients by split.
    """

    endpoints: tuple[EndpointResult, ...]
    regressions: tuple[RegressionResult, ...]
    metrics: pa.Table
    retrieval: Retrieval | None
    history: pa.Table
    filters: pa.Table
    provenance: Provenance
    bootstrap_draws: int
    few_shot_draws: int
    ecgs: dict[str, int]
    patients: dict[str, int]

    def group_metrics(self) -> dict[tuple[str, str, str], GroupMetrics]:
        """By endpoint name, protocol and group."""
        found: dict[tuple[str, str, str], GroupMetrics] = {}
        for row in self.metrics.to_pylist():
            key = (row["endpoint"], row["protocol"], row["group"])
            of_group = found.setdefault(key, GroupMetrics({}, row["patients"], row["records"], row["positives"]))
            of_group.estimates[row["metric"]] = Estimate(row["value"], row["low"], row["high"])
        return found
