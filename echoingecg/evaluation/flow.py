"""The data flow with what is left after every filter: export, catalog, ecg and teacher, pairs, split, evaluated."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from data_contracts.evaluation_details import QUESTION
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.words import PAIR_NAMES

ECGS: Final = "ecgs"
ECHOES: Final = "echoes"
_LANE_NAMES: Final = {ECGS: "ECGs, from the export to the answers", ECHOES: "Echo, from files to studies"} | PAIR_NAMES
# lane, step, stage and count of its manifest
_COUNTED: Final = (
    (ECGS, "ECG recordings in the catalog", "catalog", "ecgs"),
    (ECGS, "usable signals of 10 s, filtered", "ecg", "records"),
    (ECHOES, "echo files in the catalog", "catalog", "echoes"),
    (ECHOES, "clips that the teacher could read", "teacher", "clips"),
    (ECHOES, "echo studies with a target", "teacher", "studies"),
)
_REFUSING: Final = (("ecg", "records"), ("teacher", "clips"))  # where a refusal is of this lane's things alone


@dataclass(frozen=True)
class Step:
    """What is left after a step; `refused` there with a row in quarantine, None where a step refuses nothing."""

    says: str
    kept: int
    refused: int | None = None


@dataclass(frozen=True)
class Lane:
    """Steps that follow each other."""

    name: str
    says: str
    steps: tuple[Step, ...]


def lanes(results: EvaluationResults) -> list[Lane]:
    """Lanes with a step each at least; counts of an artefact that is gone are left out."""
    steps: dict[str, list[Step]] = {ECGS: [], ECHOES: []}
    for lane, says, stage, count in _COUNTED:
        facts = results.provenance["stages"].get(stage)
        if facts is not None and count in facts["counts"]:
            refused = facts["counts"].get("refused") if (stage, count) in _REFUSING else None
            steps[lane].append(Step(says, facts["counts"][count], refused))
    if any(of["ecgs"] for of in results.cohort.values()):
        steps[ECGS] += _judged(results)
    for row in results.provenance["filters"].to_pylist():
        steps.setdefault(row["pair"], []).append(Step(row["step"], row["kept"]))
    return [Lane(name, _LANE_NAMES.get(name, name), tuple(of)) for name, of in steps.items() if of]


def _judged(results: EvaluationResults) -> Iterator[Step]:
    yield Step("paired with an echo study", sum(of["ecgs"] for of in results.cohort.values()))
    yield Step("in the test split", results.cohort["test"]["ecgs"])
    for endpoint in results.settings.endpoints:
        records = results.labelled(QUESTION, endpoint.name)["test"]["records"]
        yield Step(f"evaluated, with a label for {endpoint.name}", records)
