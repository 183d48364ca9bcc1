"""Released weights in use: a store's artefact, the command line, real recordings in whatever lead order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from safetensors.torch import load_file

from data_contracts.conventions import LEADS
from echoingecg.common import StoreError, hash_files
from echoingecg.ecg.process import process
from echoingecg.recipe import EcgSettings
from echoingecg.student.store import load
from helpers.cases.released_files import Case, fitted_scaler, write_case
from tasks.base.workspace import Workspace
from tasks.operations.verify_and_collect import faults
from tasks.store import Artefact, ArtefactStore
from tasks.student import ReleasedFiles, export_released, import_released


@pytest.fixture(scope="module")
def case(golden, tmp_path_factory) -> Case:
    return write_case(golden, tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ArtefactStore:
    return ArtefactStore(Workspace(tmp_path_factory.mktemp("workspace")))


@pytest.fixture(scope="module")
def artefact(case, store) -> Artefact:
    return import_released(store, ReleasedFiles(case.weights, case.scaler, case.text))


def test_the_artefact_knows_where_it_comes_from(artefact, case, store):
    manifest = artefact.manifest
    assert manifest.inputs == {}
    assert manifest.source["released_weights"] == hash_files([case.weights])
    assert manifest.source["released_scaler"] == hash_files([case.scaler])
    assert manifest.counts == {"tensors": 509, "numbers": sum(one.numel() for one in case.state.values())}
    assert store.lineage(artefact) == {"student": artefact.version}
    assert list(faults(store, artefact)) == []
    assert store.published("student") == [artefact]


def test_the_same_files_elsewhere_are_the_same_version(artefact, golden, store, tmp_path):
    other = write_case(golden, tmp_path)
    (tmp_path / "bert").rename(tmp_path / "other name")
    files = ReleasedFiles(other.weights, other.scaler, str(tmp_path / "other name"), tmp_path / "config.json")
    assert import_released(store, files) == artefact
    other.write({**other.state, "ecg_encoder.bn1.bias": other.state["ecg_encoder.bn1.bias"] + 1})
    elsewhere = ArtefactStore(Workspace(tmp_path / "elsewhere"))
    assert import_released(elsewhere, files).version != artefact.version


def test_only_students_are_exported(store, artefact, tmp_path):
    with pytest.raises(StoreError, match="no artefact named"):
        export_released(store, "student-0000", tmp_path / "out")
    with pytest.raises(StoreError, match="names no artefact"):
        export_released(store, "nonsense", tmp_path / "out")


def permuted(record: Path, folder: Path, order: tuple[int, ...]) -> Path:
    """The record with its leads, as stored, in another order."""
    stored = wfdb.rdrecord(str(record), physical=False)
    fields = ("sig_name", "units", "fmt", "adc_gain", "baseline")
    path = folder / "permuted"
    wfdb.wrsamp(
        path.name,
        fs=stored.fs,
        write_dir=str(folder),
        d_signal=np.ascontiguousarray(stored.d_signal[:, order]),
        **{field: [getattr(stored, field)[one] for one in order] for field in fields},
    )
    return path


def test_real_recordings_are_embedded_whatever_their_lead_order(artefact, recording, tmp_path):
    student = load(artefact.folder)
    record = recording("ptbxl/records500/00000/00001_hr")
    names = wfdb.rdheader(str(record)).sig_name
    assert [name.lower() for name in names] != [lead.lower() for lead in LEADS], "PTB-XL has aVL before aVF"
    dicom = recording("ecg_dicom/pydicom/waveform_ecg.dcm")
    other = permuted(record, tmp_path, tuple(np.random.default_rng(1).permutation(12)))
    assert wfdb.rdheader(str(other)).sig_name != names
    signals = np.stack([process(path, EcgSettings()).signal for path in (record, other, dicom)])
    mean, log_var = student.embed_ecg(signals)
    assert np.isfinite(log_var).all()
    np.testing.assert_allclose(np.linalg.norm(mean, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(signals[0], signals[1])
    np.testing.assert_allclose(mean[0], mean[1], atol=1e-6)
    # By hand: leads by name into the released order, scaled with the released numbers, in that order.
    scaler = fitted_scaler()
    standardised = (signals[2] - scaler.mean_[:, None]) / scaler.scale_[:, None]
    with torch.inference_mode():
        expected = student.objective.student.encode_ecg(torch.tensor(standardised[None], dtype=torch.float32))
    np.testing.assert_allclose(mean[2], expected.mean[0], atol=1e-5)
    # The order matters to the weights: by position, the standard order would go wrong unnoticed.
    swapped = signals[:1, [0, 1, 2, 3, 5, 4, *range(6, 12)]]
    assert np.abs(student.embed_ecg(swapped)[0] - mean[0]).max() > 1e-4


def call(*arguments: str, workspace: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ECHOINGECG_WORKSPACE": str(workspace)}
    command = [sys.executable, "-m", "flows.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_the_command_line(case, artefact, tmp_path):
    workspace, out = tmp_path / "workspace", tmp_path / "out"
    made = call("import-released", str(case.weights), str(case.scaler), "--text", case.text, workspace=workspace)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == str(artefact), "only what a script needs"
    assert "published starts, 5 and 5" in made.stderr
    shown = call("artefacts", "lineage", made.stdout.strip(), workspace=workspace)
    assert shown.stdout.split() == [str(artefact)]
    exported = call("export-released", made.stdout.strip(), str(out), workspace=workspace)
    assert exported.returncode == 0, exported.stderr
    found = load_file(out / "echoingecg.safetensors")
    assert found.keys() == case.state.keys()
    assert all(found[name].equal(tensor) for name, tensor in case.state.items())
    refused = call("import-released", str(case.scaler), str(case.weights), "--text", case.text, workspace=workspace)
    assert refused.returncode == 2
    assert re.fullmatch(r"error: .*ecg_scaler\.pkl: .*\n", refused.stderr)
