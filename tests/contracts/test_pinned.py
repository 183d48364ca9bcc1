"""What was published stays published: version ids and stored artefacts of this code's past, read by the code of today.

`tests/data/pinned_versions.json`: the versions of the recipes `demo` and `smoke`. `tests/data/pinned_workspace.tar.xz`:
a workspace of twelve simulated patients without the evaluation's figures and report. Both were written before the files
moved to the folders of today, by `echoingecg run smoke` with

    --set simulator.patients=12 --set simulator.real_recordings=false --set student.model.init_dim=2
    --set student.model.text_width=16 --set student.model.text_heads=2 --set student.model.text_tokens=32
    --set student.epochs=1 --set evaluation.bootstrap_draws=20

A version of the file changes on purpose only: where a stage's code version is raised.
"""

import json
import tarfile
from dataclasses import fields

import numpy as np
import pytest

from data_contracts import catalog, ecg, pairs, student, teacher
from data_contracts.conventions import LEADS, STAGES, UPSTREAM
from data_contracts.evaluation import PREDICTIONS
from data_contracts.quarantine import QUARANTINE
from echoingecg.common import ContractError, canonical_json, fingerprint
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.student.store import load
from flows.request import find_recipe
from helpers.paths import DATA
from tasks.all_stages import WORKS
from tasks.base.workspace import Workspace
from tasks.ecg import finding_counts, pages_of
from tasks.operations.verify_and_collect import faults
from tasks.store import ArtefactStore, Plan

VERSIONS = json.loads((DATA / "pinned_versions.json").read_text())

ROWS = {
    "ecgs": 19,
    "echoes": 17,
    "reports": 31,
    "measurements": 60,
    "subgroups": 19,
    "quarantine": 2,
    "records": 19,
    "clips": 15,
    "studies": 12,
    "patients": 12,
    "ecg_echo": 12,
    "ecg_text": 31,
    "filters": 13,
    "history": 2,
}
MEAN = [-0.031304, -0.081723, 0.074961, -0.1801]
LOG_VAR = [-4.870793, -4.852021, -4.858806, -4.858084]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    """The stored workspace."""
    root = tmp_path_factory.mktemp("pinned")
    with tarfile.open(DATA / "pinned_workspace.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return ArtefactStore(Workspace(root))


def test_a_fingerprint_is_the_same_for_ever() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"é": "ü", "A": 1e-4}}
    assert canonical_json(value) == '{"a":{"A":0.0001,"\\u00e9":"\\u00fc"},"b":[1,2.5,null,true]}'
    assert fingerprint(value) == "b72f5a5d50fda22d"
    assert fingerprint(dict(reversed(value.items()))) == "b72f5a5d50fda22d"


@pytest.mark.parametrize("name", VERSIONS)
def test_versions_of_the_shipped_recipes_are_what_they_were(name: str) -> None:
    recipe, versions = find_recipe(name, []), {}
    for stage in STAGES:
        work, pinned = WORKS[stage], VERSIONS[name][stage]
        inputs = {above: versions[above] for above in UPSTREAM[stage]}
        plan = Plan(stage, work.contract_version, work.code_version, recipe.part(stage), pinned["source"], inputs)
        versions[stage] = plan.version
    assert versions == {stage: VERSIONS[name][stage]["version"] for stage in STAGES}


def test_stored_artefacts_follow_from_their_manifests(store: ArtefactStore) -> None:
    artefacts = store.here()
    assert [one.stage for one in artefacts] == list(STAGES)
    for one in artefacts:
        causes = {field.name: getattr(one.manifest, field.name) for field in fields(Plan)}
        assert Plan(**causes).version == one.version


def test_stored_artefacts_are_sound_to_the_last_row_of_the_pools(store: ArtefactStore) -> None:
    found = {one.stage: list(faults(store, one)) for one in store.here()}
    left_out = found.pop("evaluation")
    assert found == {stage: [] for stage in STAGES[:-1]}
    assert all("figures/" in line or "report.html" in line for line in left_out), left_out


def test_stored_tables_are_read(store: ArtefactStore) -> None:
    artefacts = {one.stage: one for one in store.here()}
    records = ecg.records_contract(artefacts["ecg"].manifest.contract_version)
    measurements = catalog.measurements_contract(artefacts["catalog"].manifest.contract_version)
    listed = [measurements if table is catalog.MEASUREMENTS else table for table in catalog.TABLES]
    clips = teacher.clips_contract(artefacts["teacher"].manifest.contract_version)
    embedded = [clips if table is teacher.CLIPS else table for table in teacher.TABLES]
    rows = {
        contract.name: contract.read(artefacts[stage].folder).num_rows
        for stage, contracts in {"catalog": listed, "ecg": (records, QUARANTINE), "teacher": embedded,
                                 "pairs": pairs.TABLES, "student": student.TABLES}.items()
        for contract in contracts
        if contract is not pairs.LABELS
    }  # fmt: skip
    assert rows == ROWS
    with pytest.raises(ContractError, match="table 'labels' lacks the column 'record_id'"):
        pairs.LABELS.read(artefacts["pairs"].folder)


def test_a_stored_ecg_artefact_is_shown_as_it_was(store: ArtefactStore) -> None:
    """Contract 3, with `refuse` and `refuse_leads` in its recipe; its pool has no bad seconds."""
    artefact = next(one for one in store.here() if one.stage == "ecg")
    assert artefact.manifest.contract_version == 3
    assert artefact.manifest.recipe["refuse_leads"] == 1
    records = ecg.records_contract(3).read(artefact.folder)["record_id"].to_pylist()
    assert sum(finding_counts(artefact).values()) <= len(records)
    (page,) = pages_of(store.workspace, artefact, records[:1])
    assert page.signal.shape == (12, 1000)


def test_a_stored_student_reads_as_it_did(store: ArtefactStore) -> None:
    folders = {one.stage: one.folder for one in store.here()}
    loaded = load(folders["student"])
    assert (loaded.settings.same_partner, loaded.settings.variance) == ("negative", "pcmepp"), "fields of a later time"
    time = np.arange(1000) / 100
    signal = np.stack([np.sin(2 * np.pi * (1 + lead / 7) * time) for lead in range(len(LEADS))])[None]
    mean, log_var = loaded.embed_ecg(signal.astype(np.float32))
    assert mean[0, :4] == pytest.approx(MEAN, abs=2e-5)
    assert log_var[0, :4] == pytest.approx(LOG_VAR, abs=2e-5)


def test_a_stored_reading_card_of_former_rules_is_refused_in_one_line(store: ArtefactStore) -> None:
    """Evaluation contract 5: limits in scores, no typicality."""
    artefact = next(one for one in store.here() if one.stage == "evaluation")
    assert artefact.manifest.contract_version == 5
    with pytest.raises(ContractError, match="of another release: run stage evaluation again") as refused:
        LoadedReadingCard.load(artefact.folder)
    assert "\n" not in str(refused.value)
    assert PREDICTIONS.read(artefact.folder).num_rows > 0
