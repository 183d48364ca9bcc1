"""The encoder as ONNX, run by onnxruntime, gives what torch gives."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import echoingecg
from data_contracts.conventions import LEADS
from echoingecg.common import UserError
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.onnx import INPUT, OUTPUTS, export_onnx


def signals(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(0, 0.3, (count, 12, 1000)).astype(np.float32)


def run(path: Path, ecgs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(list(OUTPUTS), {INPUT: ecgs}))


def variant(student: LoadedStudent, name: str) -> LoadedStudent:
    if name == "lead I":
        return student.with_lead_set("one")
    return replace(student, scaler=replace(student.scaler, fewer_leads=True)) if name == "fewer leads" else student


@pytest.mark.parametrize("name", ["as it is", "lead I", "fewer leads"])
def test_any_number_of_ecgs(model: echoingecg.EcgModel, tmp_path: Path, name: str) -> None:
    student = variant(model.reader.student, name)
    export_onnx(student, tmp_path / "encoder.onnx")
    for count in (1, 3, 70):
        ecgs = signals(count)
        ecgs[0, 4] = 0
        for found, expected in zip(
            run(tmp_path / "encoder.onnx", ecgs), student.embed_ecg_with_features(ecgs), strict=True
        ):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_file_of_an_ecg_to_its_gaussian(model: echoingecg.EcgModel, files: list[Path], tmp_path: Path) -> None:
    export_onnx(model.reader.student, tmp_path / "encoder.onnx")
    stored = onnx.load(tmp_path / "encoder.onnx")
    onnx.checker.check_model(stored, full_check=True)
    said = {entry.key: entry.value for entry in stored.metadata_props}
    assert said == {"unit": "mV", "sampling_frequency": "100", "leads": " ".join(LEADS)}
    ecgs = np.stack([echoingecg.read_ecg(file, settings=model.reader.settings).signal for file in files])
    mean, log_var, _ = run(tmp_path / "encoder.onnx", ecgs)
    embedded = model.embed(files)
    np.testing.assert_allclose(mean, np.stack(embedded["mean"].to_numpy()), atol=1e-4)
    np.testing.assert_allclose(log_var, np.stack(embedded["log_var"].to_numpy()), atol=1e-4)


def test_without_the_extra_it_says_what_to_install(
    model: echoingecg.EcgModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"onnxscript is not installed: pip install 'echoingecg\[onnx\]'"):
        export_onnx(model.reader.student, tmp_path / "encoder.onnx")
