"""What the evaluation reads: artefacts' tables, their provenance, and the ECG-echo pairs as arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypedDict

import numpy as np
import pyarrow as pa

from data_contracts.pairs import check_no_leakage
from echoingecg.common import ContractError
from echoingecg.ecg import CODE_VERSION as ECG_CODE_VERSION
from echoingecg.evaluation.data.embed import Signals, StudentModel, TextTower
from echoingecg.recipe import EcgSettings

if TYPE_CHECKING:
    from echoingecg.ecg.plot import Page  # matplotlib


class StageFacts(TypedDict):
    """Versions and counts from the manifest of one artefact."""

    contract_version: int
    code_version: int
    counts: dict[str, int]


class DataOrigins(TypedDict):
    """Whose data it was, each of data_contracts.conventions.ORIGINS, or several."""

    trained_on: str
    teacher_trained_on: str
    judged_on: str


class Provenance(TypedDict):
    """Where the numbers come from; equal for equal artefacts, on any machine."""

    teacher: str  # teacher.model of the recipe
    data: DataOrigins
    versions: dict[str, str]  # artefact version by stage
    stages: dict[str, StageFacts]  # of the artefacts that still exist
    quarantine: dict[str, dict[str, int]]  # refused records by stage and reason
    recipe: dict[str, dict[str, Any]]  # sections that something depends on, by stage
    history: pa.Table  # student.HISTORY
    filters: pa.Table  # pairs.FILTERS
    ecg_findings: dict[str, int]  # ECGs with each quality finding
    ecg_page: bytes | None  # PNG of some filtered ECGs, if there are any
    echo_sheet: bytes | None  # PNG of some masked echo clips, if there are any
    echo_map: bytes | None  # PNG of the study targets on a plane, if there are enough
    pages: "Callable[[Sequence[str]], list[Page]]"  # filtered ECGs by record_id
    notes: list[str]  # what a reader must know before the numbers


@dataclass(frozen=True)
class EvaluationInputs:
    """Everything that the stage reads, already checked against the contracts.

    Attributes:
        student: the trained student.
        signals: the ECG artefact's signals.
        ecg: settings that the signals were made with.
        record_ids: row i of `signals` is the ECG record_ids[i].
        patients: pairs.PATIENTS.
        ecg_echo: pairs.ECG_ECHO.
        labels: pairs.LABELS.
        studies: teacher.STUDIES; row i of the targets belongs to row i.
        target_mean: (study, D) float32.
        target_log_var: (study, D) float32.
        subgroups: catalog.SUBGROUPS; what the export states about its ECGs.
        records: ecg.RECORDS; quality findings of the ECGs.
        provenance: shown in the report.
        teacher: the teacher's text tower, if it has one.
        training_texts: echo reports of the training split, for centring.
        compared: other students by name.
        external: tables of data_contracts.evaluation_details.EXTERNAL by model name.
        content_hashes: of the file behind each row of `signals`; needed for external models only.
        ecg_code_version: code version of stage ecg that made the signals.
        study_vectors: from a row of `studies` to the teacher's vectors, (vector, D); None where they are not at hand.
    """

    student: StudentModel
    signals: Signals
    ecg: EcgSettings
    record_ids: list[str]
    patients: pa.Table
    ecg_echo: pa.Table
    labels: pa.Table
    studies: pa.Table
    target_mean: np.ndarray
    target_log_var: np.ndarray
    subgroups: pa.Table
    records: pa.Table
    provenance: Provenance
    teacher: TextTower | None = None
    training_texts: Sequence[str] = ()
    compared: Mapping[str, StudentModel] = field(default_factory=dict)
    external: Mapping[str, pa.Table] = field(default_factory=dict)
    content_hashes: Sequence[str] = ()
    ecg_code_version: int = ECG_CODE_VERSION
    study_vectors: Callable[[int], np.ndarray] | None = None

    @property
    def dim(self) -> int:
        """Shared embedding width."""
        return int(self.target_mean.shape[1])


@dataclass(frozen=True)
class EvaluationPairs:
    """ECGs and ECG-echo pairs as arrays: p pairs of r ECGs with s studies.

    An ECG is here if it is paired with a study or has a label; one without a study is in no pair.

    Attributes:
        record_id, patient_id, split: (r,) str, one entry an ECG, sorted by record_id.
        signal_row: (r,) int64, row of the ECG in the signals.
        study_id: (s,) str.
        target_row: (s,) int64, row of the study in the targets.
        record: (p,) int64 into the ECGs.
        study: (p,) int64 into the studies.
        gap_hours: (p,) float64, ECG time minus echo time.
    """

    record_id: np.ndarray
    patient_id: np.ndarray
    split: np.ndarray
    signal_row: np.ndarray
    study_id: np.ndarray
    target_row: np.ndarray
    record: np.ndarray
    study: np.ndarray
    gap_hours: np.ndarray

    @classmethod
    def from_inputs(cls, inputs: EvaluationInputs) -> Self:
        """Pairs of the inputs.

        Raises:
            ContractError: a patient is in two splits, or a pair names an unknown ECG or study.
        """
        table = inputs.ecg_echo
        check_no_leakage(inputs.patients, table, inputs.labels)
        owners = pa.concat_tables(
            [part.select(["record_id", "patient_id", "split"]) for part in (table, inputs.labels)]
        )
        record_id, first, record = np.unique(strings(owners["record_id"]), return_index=True, return_inverse=True)
        study_id, study = np.unique(strings(table["study_id"]), return_inverse=True)
        return cls(
            record_id=record_id,
            patient_id=strings(owners["patient_id"])[first],
            split=strings(owners["split"])[first],
            signal_row=_rows(record_id, inputs.record_ids, "ECG", "ecg"),
            study_id=study_id,
            target_row=_rows(study_id, inputs.studies["study_id"].to_pylist(), "study", "teacher"),
            record=record[: len(table)],
            study=study,
            gap_hours=table["gap_hours"].to_numpy(),
        )

    def nearest(self, allowed: np.ndarray) -> np.ndarray:
        """One pair for each ECG that has any: the smallest |gap_hours| of those allowed, then the first in the table.

        Gaps are coarse; the table names the nearest study first.

        Args:
            allowed: (p,) bool.

        Returns:
            (k,) int64 into the pairs, in the order of the ECGs.
        """
        pairs = np.flatnonzero(allowed)
        pairs = pairs[np.lexsort((pairs, np.abs(self.gap_hours[pairs]), self.record[pairs]))]
        _, first = np.unique(self.record[pairs], return_index=True)
        return pairs[first]


def strings(column: pa.ChunkedArray) -> np.ndarray:
    """A column without nulls as (n,) str."""
    return np.array(column.to_pylist(), dtype=np.str_)


def _rows(wanted: np.ndarray, known: list[str], what: str, stage: str) -> np.ndarray:
    row = {name: index for index, name in enumerate(known)}
    missing = sum(name not in row for name in wanted.tolist())
    if missing:
        raise ContractError(f"pairs name {missing} {what} identifiers that the {stage} artefact lacks: run pairs again")
    return np.array([row[name] for name in wanted.tolist()], dtype=np.int64)
