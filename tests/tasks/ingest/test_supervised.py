"""Files that overrun, take too much memory or kill their decoder: a refusal of that file, and all others are read.

Nothing is put in the decoders' place: the files are real, and so are the processes that die.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from benchmarks.ecg_export import ecg_job, write_export
from data_contracts.quarantine import QUARANTINE
from echoingecg.common import RecipeError, StoreError
from echoingecg.ecg.decode import content_hash
from echoingecg.recipe import EcgSettings, TeacherSettings
from helpers.cases.stage_runs import run_stages
from helpers.ecg.ecg_files import ecg_steps, write_wfdb
from helpers.echo.echo_encoders import jpeg_2000
from helpers.echo.ultrasound_files import PACKAGED
from helpers.paths import ROOT, Recording
from helpers.servers.prefect_server import wait_for
from tasks.ingest import blocks
from tasks.ingest.blocks import SourceFile
from tasks.ingest.supervised import Limits, decode_clip, ecg_block

USUAL = Limits(120.0, 2048)
NOISY = TeacherSettings(mask=False)


def source(path: Path) -> SourceFile:
    return SourceFile(path, content_hash(path), content_hash(path))


def ecgs(folder: Path, count: int, samples: int = 5000) -> list[SourceFile]:
    files = []
    for number in range(count):
        (folder / str(number)).mkdir(parents=True)
        steps = ecg_steps(seconds=10.0) + number
        path = write_wfdb(folder / str(number), np.tile(steps, (1, samples // steps.shape[1])))
        files.append(source(path.with_suffix(".hea")))
    return files


def test_rows_are_the_bytes_that_this_process_makes(tmp_path: Path) -> None:
    files = ecgs(tmp_path, 5)
    files[3].path.with_suffix(".dat").write_bytes(b"short")
    files[3] = source(files[3].path)
    ours, alone = ecg_block(EcgSettings(), USUAL, files), blocks.ecg_block(EcgSettings(), files)
    assert (ours.files, ours.refused) == (5, alone.refused)
    assert {name: rows.tobytes() for name, rows in ours.rows.items()} == {
        name: rows.tobytes() for name, rows in alone.rows.items()
    }


def test_settings_of_arithmetic_reach_the_decoders(tmp_path: Path) -> None:
    """In a run of its own, with another kernel of OpenBLAS, whose last bits differ from those of most processors."""
    (file,) = ecgs(tmp_path, 1)
    code = f"""
from pathlib import Path
from echoingecg.recipe import EcgSettings
from tasks.ingest import blocks
from tasks.ingest.blocks import SourceFile
from tasks.ingest.supervised import Limits, ecg_block
files = [SourceFile(Path({str(file.path)!r}), {file.content_hash!r}, {file.sha256!r})]
ours, alone = ecg_block(EcgSettings(), Limits(120.0, 2048), files), blocks.ecg_block(EcgSettings(), files)
assert ours.rows["signal"].tobytes() == alone.rows["signal"].tobytes()
"""
    for kernel in ("Nehalem", "Haswell"):
        environment = {**os.environ, "OPENBLAS_CORETYPE": kernel, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_clip_is_the_bytes_that_this_process_makes(recording: Recording) -> None:
    file = source(recording("echo_dicom/go-dicom/I_000003.dcm"))
    ours = decode_clip(TeacherSettings(), 112, USUAL, file)
    alone = blocks.decode_clip(TeacherSettings(), 112, file)
    np.testing.assert_array_equal(ours.value, alone.value)
    assert (ours.sector, ours.refusal, ours.content_hash) == (alone.sector, None, file.content_hash)
    refused = decode_clip(TeacherSettings(min_frames=999), 112, USUAL, file)
    assert refused.refusal == blocks.decode_clip(TeacherSettings(min_frames=999), 112, file).refusal is not None


def test_a_file_that_takes_too_much_memory_is_refused_alone(tmp_path: Path) -> None:
    files = ecgs(tmp_path / "small", 4)
    large = ecgs(tmp_path / "large", 1, samples=1_000_000)[0]  # 24 MB; 96 MB as numbers
    block = ecg_block(EcgSettings(), Limits(120.0, 64), [*files[:2], large, *files[2:]])
    assert block.refused == {large.content_hash: ("stopped", "over 64 MB (execution.decode_megabytes)")}
    sound = blocks.ecg_block(EcgSettings(), files)
    assert block.rows["signal"].tobytes() == sound.rows["signal"].tobytes()
    assert ecg_block(EcgSettings(), USUAL, [large]).refused == {}


@pytest.fixture
def large_clip(tmp_path: Path) -> Path:
    """Six JPEG 2000 frames of noise; each takes its decoder most of a second and some 100 MB."""
    noise = np.random.default_rng(5).integers(0, 255, (1536, 1536, 3), dtype=np.uint8)
    clip = pydicom.dcmread(PACKAGED / "examples_ybr_color.dcm")
    clip.Rows = clip.Columns = 1536
    clip.PhotometricInterpretation, clip.NumberOfFrames = "RGB", 6
    clip.PixelData = encapsulate([jpeg_2000(irreversible=False, mct=0)(noise)] * 6)
    clip.file_meta.TransferSyntaxUID = JPEG2000Lossless
    clip.save_as(tmp_path / "clip.dcm")
    return tmp_path / "clip.dcm"


def test_a_clip_that_takes_too_long_is_refused(large_clip: Path) -> None:
    stopped = decode_clip(NOISY, 112, Limits(0.5, 2048), source(large_clip))
    assert stopped.refusal == ("stopped", "over 0.5 s (execution.decode_seconds)")


def test_a_clip_that_takes_too_much_memory_is_refused(large_clip: Path) -> None:
    stopped = decode_clip(NOISY, 112, Limits(120.0, 8), source(large_clip))
    assert stopped.refusal == ("stopped", "over 8 MB (execution.decode_megabytes)")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_dies_is_a_refusal_and_the_next_file_is_read(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """A user's view filter ends its own process."""
    name = f"deadly_{int(number)}"
    (tmp_path / f"{name}.py").write_text(f"import os\ndef wanted(frames):\n    os.kill(os.getpid(), {int(number)})\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = source(recording("echo_dicom/go-dicom/I_000003.dcm"))
    died = decode_clip(TeacherSettings(view_filter=f"{name}:wanted"), 112, USUAL, file)
    assert died.refusal == ("stopped", "its decoder crashed")
    assert decode_clip(TeacherSettings(), 112, USUAL, file).refusal is None


def test_a_view_filter_that_is_not_there_is_a_fault_of_the_recipe(recording: Recording) -> None:
    file = source(recording("echo_dicom/go-dicom/I_000003.dcm"))
    with pytest.raises(RecipeError, match=r"teacher\.view_filter 'absent:wanted'"):
        decode_clip(TeacherSettings(view_filter="absent:wanted"), 112, USUAL, file)


def test_faults_of_the_run_are_raised(tmp_path: Path) -> None:
    (file,) = ecgs(tmp_path, 1)
    changed = SourceFile(file.path, file.content_hash, "0" * 64)
    with pytest.raises(StoreError, match="has changed since the catalog was made"):
        ecg_block(EcgSettings(), USUAL, [changed])
    assert ecg_block(EcgSettings(), USUAL, [file]).refused == {}


def test_decoders_hold_no_keys(tmp_path: Path) -> None:
    """In a run of its own, with keys in its environment: nothing of them in any process that decodes."""
    secret = "AKIA-NOT-FOR-DECODERS"
    (file,) = ecgs(tmp_path, 1)
    code = f"""
import os
from pathlib import Path
from echoingecg.recipe import EcgSettings
from tasks.ingest.blocks import SourceFile
from tasks.ingest.supervised import Limits, ecg_block
file = SourceFile(Path({str(file.path)!r}), {file.content_hash!r}, {file.sha256!r})
assert not ecg_block(EcgSettings(), Limits(60.0, 1024), [file]).refused
import psutil
below = psutil.Process().children(recursive=True)
assert len(below) == 2, below
for process in below:
    assert b"PATH" in Path(f"/proc/{{process.pid}}/environ").read_bytes()
    assert {secret!r}.encode() not in Path(f"/proc/{{process.pid}}/environ").read_bytes()
    print(process.pid)
"""
    environment = os.environ | {"AWS_SECRET_ACCESS_KEY": secret, "PREFECT_API_KEY": secret, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    decoders = [Path("/proc") / pid for pid in run.stdout.split()]
    wait_for(lambda: not any(decoder.exists() for decoder in decoders), "they end with the run", 10)


def test_threads_share_no_decoder(tmp_path: Path) -> None:
    files = ecgs(tmp_path, 6)
    sound = {file.content_hash: ecg_block(EcgSettings(), USUAL, [file]).rows["signal"].tobytes() for file in files}
    made: dict[str, bytes] = {}

    def work(file: SourceFile) -> None:
        for _ in range(3):
            made[file.content_hash] = ecg_block(EcgSettings(), USUAL, [file]).rows["signal"].tobytes()

    threads = [threading.Thread(target=work, args=[file]) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == sound


def test_a_stopped_file_is_in_quarantine_and_is_tried_again(tmp_path: Path) -> None:
    write_export(tmp_path / "export", 12)
    large = sorted((tmp_path / "export").rglob("*.dat"))[5]
    header = large.with_suffix(".hea")
    header.write_text(header.read_text().replace(" 500 5000", " 500 2000000", 1))
    lines = header.read_text().splitlines()  # its checksums are those of 10 s
    lines[1:13] = [" ".join([*line.split()[:6], "0", *line.split()[7:]]) for line in lines[1:13]]
    header.write_text("\n".join(lines) + "\n")
    whole = np.fromfile(large, "<i2").reshape(5000, 12)
    tiled = np.tile(whole, (400, 1))
    tiled[-1] -= tiled.astype(np.int64).sum(axis=0).astype(np.int16)
    tiled.tofile(large)
    first = run_stages(ecg_job(tmp_path / "export", tmp_path / "w", decode_megabytes=100), "catalog", "ecg")
    assert first.artefacts["ecg"].manifest.counts["records"] == 11
    (row,) = QUARANTINE.read(first.artefacts["ecg"].folder).to_pylist()
    assert (row["reason"], row["detail"]) == ("stopped", "over 100 MB (execution.decode_megabytes)")
    write_export(tmp_path / "export", 13, before=12)
    again = run_stages(ecg_job(tmp_path / "export", tmp_path / "w"), "catalog", "ecg")
    assert again.artefacts["ecg"].manifest.counts["records"] == 13
    assert again.artefacts["ecg"].manifest.counts["refused"] == 0
