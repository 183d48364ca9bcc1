"""What the report tells of the artefacts behind an evaluation."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa

if TYPE_CHECKING:
    from echoingecg.ecg.plot import Page  # matplotlib


class StageFacts(TypedDict):
    """What a manifest says of its artefact."""

    contract_version: int
    code_version: int
    counts: dict[str, int]


class Provenance(TypedDict):
    """Where the numbers come from: the same for the same artefacts, on any machine."""

    teacher: str  # teacher.model of the recipe
    versions: dict[str, str]  # artefact version by stage
    stages: dict[str, StageFacts]  # of those that are still there
    quarantine: dict[str, dict[str, int]]  # refused records by stage and reason
    recipe: dict[str, dict[str, Any]]  # sections that something depends on, by stage
    history: pa.Table  # student.HISTORY
    filters: pa.Table  # pairs.FILTERS
    ecg_findings: dict[str, int]  # ECGs with each quality finding
    ecg_page: bytes | None  # PNG of some filtered ECGs, if there are any
    echo_sheet: bytes | None  # PNG of some masked echo clips, if there are any
    echo_map: bytes | None  # PNG of the study targets on a plane, if there are enough
    pages: "Callable[[Sequence[str]], list[Page]]"  # filtered ECGs by record_id
