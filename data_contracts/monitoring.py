"""Records of running a trained student: drift of a new export, promotion decisions, and exports that arrived.

`echoingecg drift` writes a verdict as JSON and its measures as Parquet. `echoingecg promote` writes one JSON file per
decision into the workspace's `decisions/`. Neither is ever changed. The state of an export that arrived is one JSON
file in the workspace's private folder, and so is what the workspace knows of exports that follow each other. The file
`alias_moves.jsonl` gains a line with every move of an alias.
"""

from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.conventions import Stage
from data_contracts.evaluation_details import SHIFT
from data_contracts.tables import TableContract, column

Verdict = Literal["drift", "no drift", "too few"]

TRAINED = "trained"
NEW = "new"

DRIFT = TableContract(
    "drift",
    (
        *SHIFT.columns,
        column("limit", pa.float64(), "of the recipe: how far `value` may be from 0"),
        column("drifted", pa.bool_(), "beyond the limit, and more than chance"),
    ),
    unique=SHIFT.unique,
)


class DriftVerdict(BaseModel):
    """Whether the ECGs of one export have drifted from the training data of one student."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    student: str = Field(description="student that the verdict is about")
    evaluation: str = Field(description="evaluation of the student; its endpoints were counted")
    trained: dict[Stage, str] = Field(description="versions of the artefacts that the student was trained on")
    new: dict[Stage, str] = Field(description="versions of the catalog and ecg artefacts of the new export")
    verdict: Verdict
    says: str = Field(description="the reason, as a sentence")
    rule: dict[str, Any] = Field(description="the recipe's section `drift`")
    counts: dict[str, int] = Field(description="ECGs and patients of both sides, and ECGs that were known before")
    measured: str = Field(description="UTC, ISO 8601")


class EndpointComparison(BaseModel):
    """Champion and challenger compared on one endpoint, on the test ECGs that both were judged on.

    Values are null where a class is absent or has only one patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    endpoint: str
    champion: float | None = Field(description="metric of the champion")
    challenger: float | None = Field(description="metric of the challenger")
    low: float | None = Field(description="2.5 % of challenger minus champion over paired patient resamples")
    high: float | None = Field(description="97.5 % of challenger minus champion over paired patient resamples")
    records: int = Field(description="test ECGs compared")
    patients: int
    positives: int = Field(description="ECGs with label 1")

    @property
    def gain(self) -> float | None:
        """Challenger minus champion; None if either is missing."""
        return None if self.champion is None or self.challenger is None else self.challenger - self.champion


class SharedLabels(BaseModel):
    """Test labels of one endpoint of champion and challenger, whose exports may differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    endpoint: str
    champion: int = Field(description="test labels of the champion")
    shared: int = Field(description="of them, those of an ECG that the challenger was tested on, too; these count")
    changed: int = Field(description="of the shared, those that the challenger's export has turned; its own count")
    vanished: int = Field(description="labels of the champion that the challenger lacks")
    absent_patients: int = Field(
        description="patients of the vanished labels that the challenger was not tested on at all, as when withdrawn; "
        "of the others another ECG was tested, or they have no label any more"
    )
    added: int = Field(description="labels that the challenger has beyond the champion's; they do not count")


class Decision(BaseModel):
    """Which of two students is champion from now on, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    alias: str = Field(description="alias that the champion has")
    verdict: Literal["promote", "keep", "frozen"] = Field(
        description="frozen: the champion stays because the two cannot be compared, and later ones will not be either"
    )
    says: str = Field(description="the reason, as a sentence")
    rule: dict[str, Any] = Field(description="the recipe's section `promotion`")
    champion: str = Field(description="evaluation that the alias pointed to; empty if the alias did not exist")
    challenger: str = Field(description="evaluation that may replace it")
    lineage: dict[str, dict[Stage, str]] = Field(description="versions of the artefacts that each was made from")
    compared: tuple[EndpointComparison, ...]
    labels: tuple[SharedLabels, ...] = Field((), description="what the two were compared on, and what was left out")
    decided: str = Field(description="UTC, ISO 8601")


MoveKind = Literal["promoted", "by hand", "rolled back"]


class AliasMove(BaseModel):
    """One move of an alias, a line of the workspace's `alias_moves.jsonl`. Lines are added, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    moved: str = Field(description="UTC, ISO 8601")
    who: str = Field(description="user and machine")
    alias: str
    before: str = Field(description="artefact that the alias named; empty where there was none")
    after: str = Field(description="artefact that it names from then on")
    kind: MoveKind
    why: str = Field("", description="the decision, or what the user said")


class ExportRecord(BaseModel):
    """State of one export folder. A renewed marker file makes another record."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    export: str = Field(description="name of the folder in the inbox")
    state: Literal["begun", "trained", "refused", "superseded", "known"] = Field(
        "begun", description="known: it held nothing new, so nothing was trained on it"
    )
    tries: int = Field(0, description="number of retrains that were started on it")
    warm_start: str = Field("", description="student that the first retrain started from; later retrains use it, too")
    says: str = Field("", description="why it was refused, or what its retrain led to")


class KnownExport(BaseModel):
    """What a workspace knows of exports that follow each other: of one folder, or of an inbox."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    catalog: str = Field(description="version of the newest catalog that a run went through with")
    counts: dict[str, int] = Field(description="rows of its tables, by kind")
    earlier: tuple[str, ...] = Field((), description="versions of the catalogs before it, oldest first")
