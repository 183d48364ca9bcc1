"""EDF against edfio, arrays against NumPy; what they do not state is refused."""

from pathlib import Path

import edfio
import numpy as np
import pytest

from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from helpers.ecg.ecg_files import STEP, ecg_steps, write_edf, write_npy
from helpers.ecg.wfdb_files import CLINICAL

STEPS = ecg_steps(seconds=4.0)
STATED = {"stated_unit": "mV", "stated_sampling_frequency": 500.0, "stated_leads": CLINICAL}


def reason_of(path: Path, **stated: object) -> str:
    with pytest.raises(Refusal) as refusal:
        decode(path, **stated)  # type: ignore[arg-type]
    return refusal.value.reason


def test_edf_is_what_edfio_reads(tmp_path: Path) -> None:
    """Odd ranges with an offset, another signal at another rate between the leads."""
    digital = STEPS.astype(np.int16)
    signals = [
        edfio.EdfSignal.from_digital(row, 500, label=lead, physical_dimension="uV", digital_range=(-2048, 2047),
                                     physical_range=(-3276.5, 3300.25))
        for lead, row in zip(CLINICAL, digital, strict=True)
    ]  # fmt: skip
    other = edfio.EdfSignal(np.linspace(0, 1, 100), 25, label="Resp", physical_dimension="Ohm")
    edfio.Edf([*signals[:3], other, *signals[3:]], data_record_duration=2).write(tmp_path / "ecg.edf")
    expected = {signal.label: signal.data / 1000 for signal in edfio.read_edf(tmp_path / "ecg.edf").signals}
    found = decode(tmp_path / "ecg.edf")
    assert found.leads == tuple(CLINICAL)
    assert found.sampling_frequency == 500
    for lead, row in zip(found.leads, found.signal, strict=True):
        np.testing.assert_allclose(row, expected[lead], atol=1e-9)


def test_the_export_may_state_what_edf_does_not(tmp_path: Path) -> None:
    path = write_edf(tmp_path, STEPS, unit="")
    assert reason_of(path) == "missing_units"
    np.testing.assert_allclose(decode(path, "uV").signal, STEPS * STEP, atol=1e-9)


@pytest.mark.parametrize("kind", ["EDF+C", "EDF+D"])
def test_a_recorder_that_stopped_within_a_record_is_noticed(tmp_path: Path, kind: str) -> None:
    path = write_edf(tmp_path, STEPS)
    content = bytearray(path.read_bytes()[:-100])
    content[236:244], content[192:197] = b"-1      ", kind.encode()
    path.write_bytes(content)
    assert reason_of(path) == "truncated"


@pytest.mark.parametrize(
    ("onset", "is_read"), [(2.0, True), (2.0004, True), (2.5, False), (1.5, False), (7200.0, False)]
)
def test_interrupted_edf_is_read_where_nothing_is_left_out(tmp_path: Path, onset: float, is_read: bool) -> None:
    """edfio writes the onsets; the third one is changed here, in as many bytes."""
    path = write_edf(tmp_path, STEPS)
    content = bytearray(path.read_bytes())
    content[192:197] = b"EDF+D"
    place = content.index(b"+2\x14\x14\0")
    written = f"+{onset:g}\x14\x14\0".encode()
    content[place : place + len(written)] = written
    path.write_bytes(content)
    if is_read:
        np.testing.assert_allclose(decode(path).signal, STEPS * STEP, atol=1e-9)
    else:
        assert reason_of(path) == "unknown_format"


def test_bdf_is_what_edfio_reads(tmp_path: Path) -> None:
    """24 bits with a sign, in units of 31.25 nV, as BioSemi's amplifiers write them."""
    digital = (STEPS * 160 + 3_000_000).astype(np.int32)
    digital[1::2] -= 6_000_000
    signals = [
        edfio.BdfSignal.from_digital(row, 500, label=lead, physical_dimension="uV",
                                     digital_range=(-8388608, 8388607), physical_range=(-262144, 262143))
        for lead, row in zip(CLINICAL, digital, strict=True)
    ]  # fmt: skip
    edfio.Bdf(signals, data_record_duration=1).write(tmp_path / "ecg.bdf")
    found = decode(tmp_path / "ecg.bdf")
    assert found.format == "BDF"
    expected = [signal.data / 1000 for signal in edfio.read_bdf(tmp_path / "ecg.bdf").signals]
    np.testing.assert_allclose(found.signal, expected, atol=1e-9)


SIGNALS = 13  # twelve leads and the annotations


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (256 + SIGNALS * 96, b"mmHg    ", "unknown_units"),
        (256, b"EEG Fpz-Cz      ", None),
        (192, b"EDF+D", True),
        (236, b"5       ", "truncated"),
        (236, b"3       ", "unreadable"),
        (236, b"-1      ", True),
        (236, b"-2      ", "unreadable"),
        (236, b"99999999", "unreadable"),
        (244, b"0       ", "missing_sampling_frequency"),
        (244, b"one     ", "unreadable"),
        (252, b"0   ", "unreadable"),
        (252, b"9999", "truncated"),
        (184, b"512     ", "unreadable"),
        (256 + SIGNALS * 104, b"5000    ", "missing_units"),  # physical minimum = maximum
        (256 + SIGNALS * 120, b"1000    ", "missing_units"),  # digital minimum = maximum
        (256 + SIGNALS * 120, b"        ", "missing_units"),
        (256 + SIGNALS * 216, b"250     ", "unknown_format"),  # one lead at half the rate
    ],
)
def test_edf_headers(tmp_path: Path, at: int, value: bytes, reason: str | bool | None) -> None:
    path = write_edf(tmp_path, STEPS)
    content = bytearray(path.read_bytes())
    content[at : at + len(value)] = value
    path.write_bytes(content)
    if reason is None:
        assert decode(path).signal.shape == (11, 2000)
    elif reason is True:
        np.testing.assert_allclose(decode(path).signal, STEPS * STEP, atol=1e-9)
    else:
        assert reason_of(path) == reason


def test_edf_cut_anywhere(tmp_path: Path) -> None:
    path = write_edf(tmp_path, STEPS)
    content = path.read_bytes()
    for size in (9, 255, 300, 256 * 14 - 1, 256 * 14 + 5, len(content) - 1):
        path.write_bytes(content[:size])
        assert reason_of(path) == "truncated"


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, ">i4"])
def test_arrays(tmp_path: Path, turn: bool, extra: int, kind: object) -> None:
    stored = (STEPS.T if turn else STEPS).astype(kind)[(None,) * extra]  # type: ignore[call-overload]
    np.save(tmp_path / "ecg.npy", stored)
    stated = STATED | {"stated_unit": "uV"}
    found = decode(tmp_path / "ecg.npy", **stated)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.signal, STEPS / 1000, atol=1e-9)
    assert (found.leads, found.sampling_frequency) == (tuple(CLINICAL), 500.0)


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        ("stated_leads", "missing_leads"),
        ("stated_unit", "missing_units"),
        ("stated_sampling_frequency", "missing_sampling_frequency"),
    ],
)
def test_what_an_array_lacks_must_be_stated(tmp_path: Path, absent: str, reason: str) -> None:
    assert reason_of(write_npy(tmp_path, STEPS), **{k: v for k, v in STATED.items() if k != absent}) == reason


@pytest.mark.parametrize("shape", [(12, 12), (2, 12, 2000), (2000, 11), (24000,), (12,), (0, 12), ()])
def test_shapes_of_more_than_one_reading(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "ecg.npy", np.zeros(shape))
    assert reason_of(tmp_path / "ecg.npy", **STATED) == "unreadable"


@pytest.mark.parametrize("kind", [np.complex64, "S8", "M8[s]", bool])
def test_arrays_that_are_no_numbers(tmp_path: Path, kind: object) -> None:
    np.save(tmp_path / "ecg.npy", np.zeros((12, 2000), kind))  # type: ignore[call-overload]
    assert reason_of(tmp_path / "ecg.npy", **STATED) == "unknown_format"


def test_no_pickle_is_ever_read(tmp_path: Path) -> None:
    np.save(tmp_path / "ecg.npy", np.array([["a", 1]] * 12, dtype=object), allow_pickle=True)
    assert reason_of(tmp_path / "ecg.npy", **STATED) == "unreadable"


def test_gaps_in_arrays_are_missing(tmp_path: Path) -> None:
    stored = STEPS * STEP
    stored[3, 10:20], stored[4, 5] = np.nan, np.inf
    np.save(tmp_path / "ecg.npy", stored)
    assert np.isnan(decode(tmp_path / "ecg.npy", **STATED).signal).sum() == 11  # type: ignore[arg-type]


def test_an_absurd_array_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A sparse file keeps the promise of its header."""
    path = tmp_path / "ecg.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(12, 1 << 24)).flush()
    assert reason_of(path, **STATED) == "unreadable"
