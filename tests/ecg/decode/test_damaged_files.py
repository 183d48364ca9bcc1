"""Damage of every kind to every format: a reading or a Refusal, soon, in little memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.decode.scp import read_sections
from helpers.cases.damage import FLIPS, INSERTS, KEPT, damaged
from helpers.ecg.ecg_files import (
    ecg_steps,
    write_aecg,
    write_cardiosoft,
    write_csv,
    write_dicom,
    write_edf,
    write_mat,
    write_mortara,
    write_muse,
    write_npy,
    write_philips,
    write_wfdb,
)  # fmt: skip
from helpers.ecg.scp_files import record, write_scp
from helpers.ecg.wfdb_files import CLINICAL
from helpers.paths import Recording

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom tells of what it meets

STEPS = ecg_steps(seconds=1.0)
WRITERS: dict[str, Callable[[Path], Path]] = {
    "wfdb": lambda folder: write_wfdb(folder, STEPS).with_suffix(".hea"),
    "dicom": lambda folder: write_dicom(folder, STEPS),
    "muse": lambda folder: write_muse(folder, STEPS),
    "philips": lambda folder: write_philips(folder, STEPS),
    "aecg": lambda folder: write_aecg(folder, STEPS),
    "scp": lambda folder: write_scp(folder, STEPS),
    "edf": lambda folder: write_edf(folder, STEPS),
    "npy": lambda folder: write_npy(folder, STEPS),
    "cardiosoft": lambda folder: write_cardiosoft(folder, STEPS),
    "mortara": lambda folder: write_mortara(folder, STEPS),
    "csv": lambda folder: write_csv(folder, STEPS),
    "mat": lambda folder: write_mat(folder, STEPS),
}
FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SECONDS = 20.0  # a file of one second is read in a few hundredths; a busy machine needs room


def try_to_read(path: Path) -> str:
    """`read` or the reason; nothing else may happen."""
    start = monotonic()
    said, fault = outcome(path)
    assert monotonic() - start < SECONDS
    assert str(path.parent) not in said
    assert fault is None or fault.errno is not None  # the disk's, not a parser's
    return said.partition(":")[0]


def outcome(path: Path) -> tuple[str, OSError | None]:
    try:
        found = decode(path, "mV", 500.0, CLINICAL)
        arrange(found)
    except Refusal as refusal:
        return str(refusal), None
    except OSError as fault:
        return "disk", fault
    assert found.signal.shape == (len(found.leads), found.signal.shape[1])
    assert found.sampling_frequency > 0
    return "read", None


@pytest.mark.parametrize("form", WRITERS)
def test_damage_is_read_or_refused(tmp_path: Path, form: str) -> None:
    path = WRITERS[form](tmp_path)
    content = path.read_bytes()
    outcomes = set()

    @given(flips=FLIPS, inserts=INSERTS, kept=KEPT)
    @FUZZ
    def check(flips: list[tuple[float, int]], inserts: list, kept: float) -> None:
        path.write_bytes(damaged(content, flips, inserts, kept))
        outcomes.add(try_to_read(path))

    check()
    assert len(outcomes) > 1


def test_damage_under_right_checksums(tmp_path: Path) -> None:
    """SCP-ECG's checksums stop most damage: here they are made anew over it."""
    path = WRITERS["scp"](tmp_path)
    bodies = read_sections(path.read_bytes())
    outcomes = set()

    @given(
        number=st.sampled_from(sorted(bodies)),
        flips=FLIPS,
        inserts=INSERTS,
        kept=KEPT,
    )
    @FUZZ
    def check(number: int, flips: list[tuple[float, int]], inserts: list, kept: float) -> None:
        path.write_bytes(record(bodies | {number: damaged(bodies[number], flips, inserts, kept)}))
        outcomes.add(try_to_read(path))

    check()
    assert {"read", "unreadable"} <= outcomes


@pytest.mark.parametrize("name", ["129DYPRG.XML", "2020-5-18_15-48-11.xml"])
def test_damage_to_real_compressed_samples(recording: Recording, tmp_path: Path, name: str) -> None:
    content = recording(f"philips_xml/{name}").read_bytes()
    at = content.rindex(b"parsedwaveforms" if b"\0p" not in content else "parsedwaveforms".encode("utf-16-le")) - 9000
    random = np.random.default_rng(6)
    for _ in range(15):
        bad = bytearray(content)
        for place in random.integers(at, at + 8000, 3):
            bad[place // 2 * 2] = ord("A")
        (tmp_path / "bad.xml").write_bytes(bad)
        assert try_to_read(tmp_path / "bad.xml") in ("read", "unreadable", "truncated")


def _huge_dicom(folder: Path) -> Path:
    path = write_dicom(folder, STEPS)
    dataset = pydicom.dcmread(path)
    for group in dataset.WaveformSequence:
        group.NumberOfWaveformSamples = 2**32 - 1
    dataset.save_as(path)
    return path


def _replaced(path: Path, old: bytes, new: bytes) -> Path:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def _huge_scp(folder: Path) -> Path:
    bodies = read_sections(write_scp(folder, STEPS).read_bytes())
    bodies[3] = bodies[3].replace((500).to_bytes(4, "little"), (2**32 - 1).to_bytes(4, "little"))
    (folder / "ecg.scp").write_bytes(record(bodies))
    return folder / "ecg.scp"


def _xli_bomb(folder: Path) -> Path:
    """One code that grows by a byte each time: as much output as LZW of this size can give."""
    path = write_philips(folder, ecg_steps(seconds=1.0) * 0)
    return _replaced(
        path, 'durationperchannel="1000"'.encode("utf-16-le"), 'durationperchannel="10"'.encode("utf-16-le")
    )


HUGE: dict[str, Callable[[Path], Path]] = {
    "wfdb": lambda folder: _replaced(WRITERS["wfdb"](folder), b" 500 500", b" 500 99999999999"),
    "dicom": _huge_dicom,
    "muse": lambda folder: _replaced(WRITERS["muse"](folder), b"CountTotal>500<", b"CountTotal>99999999999<"),
    "philips": lambda folder: _replaced(
        WRITERS["philips"](folder), '"1000"'.encode("utf-16-le"), '"99999999999"'.encode("utf-16-le")
    ),
    "xli": _xli_bomb,
    "scp": _huge_scp,
    "edf": lambda folder: _replaced(
        WRITERS["edf"](folder), b"EDF+C".ljust(44) + b"1 ", b"EDF+C".ljust(44) + b"9999999 "
    ),
    "npy": lambda folder: _replaced(WRITERS["npy"](folder), b"(1, 500, 12), }   ", b"(1, 99999, 999999)}"[:18]),
}


@pytest.mark.parametrize("form", HUGE)
def test_absurd_sizes_are_refused_before_memory_is_asked_for(tmp_path: Path, form: str) -> None:
    path = HUGE[form](tmp_path)
    tracemalloc.start()
    try:
        assert try_to_read(path) in ("unreadable", "truncated")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("form", WRITERS)
def test_memory_stays_within_fifty_times_the_files(tmp_path: Path, form: str) -> None:
    path = WRITERS[form](tmp_path)
    decode(path, "mV", 500.0, CLINICAL)  # imports
    size = sum(one.stat().st_size for one in tmp_path.iterdir())
    tracemalloc.start()
    try:
        decode(path, "mV", 500.0, CLINICAL)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50 * size + (2 << 20)  # a header is read into 1 MB


def test_memory_of_damaged_xml(tmp_path: Path) -> None:
    """Documents of nothing but tags, attributes or short numbers, 200 kB each."""
    texts = [
        "<RestingECG>" + "<a/>" * 50_000 + "</RestingECG>",
        "<RestingECG>" + '<a b=""/>' * 22_000 + "</RestingECG>",
        write_aecg(tmp_path, STEPS[:, :2]).read_text().replace("<digits>", "<digits>" + "1 " * 100_000, 1),
    ]
    for text in texts:
        (tmp_path / "bad.xml").write_text(text)
        tracemalloc.start()
        try:
            assert try_to_read(tmp_path / "bad.xml") in ("unknown_format", "unreadable")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 50 * len(text)
