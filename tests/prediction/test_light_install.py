"""Reading ECGs with a trained student needs nothing of the extras `teacher` and `pipeline`."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from data_contracts.student import ARCHITECTURE
from echoingecg.student.model.text_encoder import LaterBackbone
from echoingecg.student.store import load
from helpers.cases.stage_runs import Run
from helpers.paths import ROOT, Recording

MODULES = {
    "open-clip-torch": "open_clip", "opencv-python-headless": "cv2", "pyjpegls": "jpeg_ls", "pylibjpeg-rle": "rle",
    "lightning-fabric": "lightning_fabric", "pydantic-settings": "pydantic_settings", "prefect-dask": "prefect_dask",
}  # fmt: skip
BLOCKED = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Absent())
"""
READ = """
import echoingecg
student, ecg = sys.argv[1:]
model = echoingecg.load(student)
readings, embedded = model.predict(ecg), model.embed(ecg)
assert model.predict_numbers(ecg).num_rows
assert readings["advice"].null_count == 0 and embedded["mean"].null_count == 0
assert bytes(model.plot(ecg)).startswith(b"\\x89PNG")
assert echoingecg.read_ecg(ecg).signal.shape[0] == 12
assert len(repr(model)) < 500, "a notebook shows it"
print("read", readings.num_rows)
"""


def modules_of_extras() -> set[str]:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {Requirement(text).name.lower().replace("_", "-") for text in extras["teacher"] + extras["pipeline"]}
    return {MODULES.get(name, name.replace("-", "_")) for name in names - {"echoingecg", "jinja2"}}


def without_extras(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    whole = BLOCKED.format(modules=modules_of_extras()) + code
    return subprocess.run([sys.executable, "-c", whole, *arguments], capture_output=True, text=True, check=False)


def test_a_student_reads_ecgs_without_the_extras(finished: Run, recording: Recording) -> None:
    assert {"prefect", "dask", "zarr", "open_clip", "lightning_fabric", "transformers"} < modules_of_extras()
    ecg = str(recording("ecg_dicom/pydicom/waveform_ecg.dcm"))
    done = without_extras(READ, str(finished.artefacts["student"].folder), ecg)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"read [1-9]\d*\n", done.stdout)


def test_a_command_that_needs_an_extra_names_it(tmp_path: Path) -> None:
    code = "from flows.cli.main import main; sys.argv = ['echoingecg', *sys.argv[1:]]; main()"
    helped = without_extras(code, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    done = without_extras(code, "artefacts", "list", "--workspace", str(tmp_path))
    assert done.returncode == 2
    assert re.fullmatch(r"error: this command needs \w+: pip install 'echoingecg\[pipeline\]'\n", done.stderr)


def test_texts_are_read_when_there_is_one(finished: Run) -> None:
    folder = finished.artefacts["student"].folder
    whole, later = load(folder), load(folder, ecg_alone=True)
    tower = later.objective.student.text_encoder
    assert isinstance(tower.backbone, LaterBackbone)
    signals = np.random.default_rng(0).normal(0, 0.3, (2, 12, 1000)).astype(np.float32)
    for one, other in zip(whole.embed_ecg(signals), later.embed_ecg(signals), strict=True):
        np.testing.assert_array_equal(one, other)
    assert isinstance(tower.backbone, LaterBackbone)
    for one, other in zip(whole.embed_text(["LVEF is 25 %."], "ECHO"), later.embed_text(["LVEF is 25 %."], "ECHO"),
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)
    assert {name for name, _ in later.objective.named_parameters()} == {
        name for name, _ in whole.objective.named_parameters()
    }


def test_weights_of_the_text_tower_are_checked_when_they_are_read(copied: Run) -> None:
    from safetensors.torch import load_file, save_file

    from data_contracts.student import WEIGHTS
    from echoingecg.common import ContractError
    from helpers.cases.republished import republish

    folder = copied.job.workspace.artefacts / "student" / copied.versions["student"]
    weights = load_file(folder / WEIGHTS)
    del weights[next(name for name in weights if name.startswith("text_encoder.backbone."))]
    save_file(weights, folder / WEIGHTS)
    republish(folder)
    with pytest.raises(ContractError, match="the weights lack"):
        load(folder)
    later = load(folder, ecg_alone=True)
    with pytest.raises(ContractError, match="the weights lack"):
        later.embed_text(["LVEF is 25 %."], "ECHO")
    assert (folder / ARCHITECTURE).is_file()
