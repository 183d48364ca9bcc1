"""WFDB records: equal to the wfdb library where that is right, strict where it guesses."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode, source_files
from echoingecg.ecg.decode.recording import MAX_VALUES
from echoingecg.ecg.decode.wfdb_header import files_of_record, parse_header
from helpers.ecg.wfdb_files import CLINICAL, edit_header, heartbeats, write_record

SIGNAL = heartbeats()


def reason_of(path: Path, **stated: object) -> str:
    with pytest.raises(Refusal) as refusal:
        decode(path, **stated)  # type: ignore[arg-type]
    return refusal.value.reason


def test_every_real_record_equals_the_librarys_reading(recordings: Path) -> None:
    headers = sorted(recordings.rglob("*.hea"))
    assert headers
    for header in headers:
        ours, theirs = decode(header), wfdb.rdrecord(str(header.with_suffix("")))
        np.testing.assert_allclose(ours.signal.T, theirs.p_signal, atol=1e-12)
        assert list(ours.leads) == theirs.sig_name
        assert ours.sampling_frequency == theirs.fs


@pytest.mark.parametrize("form", ["16", "24", "32", "80", "212", "508", "516", "524"])
def test_formats(tmp_path: Path, form: str) -> None:
    signal = heartbeats() / (20 if form in ("80", "508") else 4)
    path = write_record(tmp_path / "rec", signal, fmt=[form] * 12)
    np.testing.assert_allclose(decode(path).signal.T, wfdb.rdrecord(str(path)).p_signal, atol=1e-9)
    np.testing.assert_allclose(decode(path).signal.T, signal, atol=1.1e-3)


@pytest.mark.parametrize(
    ("form", "flip"), [("61", lambda stored: stored.byteswap()), ("160", lambda stored: stored ^ -32768)]
)
def test_formats_the_library_does_not_write(
    tmp_path: Path, form: str, flip: Callable[[np.ndarray], np.ndarray]
) -> None:
    path = write_record(tmp_path / "rec", SIGNAL)
    flip(np.fromfile(path.with_suffix(".dat"), "<i2")).tofile(path.with_suffix(".dat"))
    edit_header(path, "rec.dat 16", f"rec.dat {form}")
    np.testing.assert_allclose(decode(path).signal.T, SIGNAL, atol=1e-9)


@pytest.mark.parametrize("form", ["16", "212"])
def test_missing_samples_become_nan(tmp_path: Path, form: str) -> None:
    signal = SIGNAL / 4
    signal[100:110, 3] = np.nan
    found = decode(write_record(tmp_path / "rec", signal, fmt=[form] * 12)).signal
    np.testing.assert_array_equal(np.isnan(found.T), np.isnan(signal))


@pytest.mark.parametrize(("unit", "factor"), [("V", 1e-3), ("mV", 1.0), ("mv", 1.0), ("uV", 1e3), ("nV", 1e6)])
def test_units_do_not_change_the_signal(tmp_path: Path, unit: str, factor: float) -> None:
    path = write_record(tmp_path / "rec", SIGNAL * factor, units=[unit] * 12, adc_gain=[1000 / factor] * 12)
    np.testing.assert_allclose(decode(path).signal.T, SIGNAL, atol=1e-9)


def test_other_signals_are_left_out_whatever_their_unit(tmp_path: Path) -> None:
    signal = np.column_stack([SIGNAL, SIGNAL[:, 0]])
    path = write_record(tmp_path / "rec", signal, units=["mV"] * 12 + ["Ohm"], sig_name=[*CLINICAL, "Resp"])
    assert decode(path).leads == tuple(CLINICAL)


def test_ending_does_not_matter(tmp_path: Path) -> None:
    path = write_record(tmp_path / "rec", SIGNAL)
    np.testing.assert_array_equal(decode(path).signal, decode(tmp_path / "rec.hea").signal)


def test_a_header_without_length_takes_the_files(tmp_path: Path) -> None:
    path = edit_header(write_record(tmp_path / "rec", SIGNAL), "rec 12 500 5000", "rec 12 500")
    np.testing.assert_allclose(decode(path).signal.T, SIGNAL, atol=1e-9)


def test_segments_are_joined(tmp_path: Path) -> None:
    write_record(tmp_path / "one", SIGNAL[:2000])
    write_record(tmp_path / "two", SIGNAL[2000:])
    (tmp_path / "both.hea").write_text("both/2 12 500 5000\none 2000\ntwo 3000\n")
    np.testing.assert_allclose(decode(tmp_path / "both").signal.T, SIGNAL, atol=1e-9)
    names = [path.name for path in files_of_record(tmp_path / "both.hea")]
    assert names == ["both.hea", "one.hea", "two.hea", "one.dat", "two.dat"]
    edit_header(tmp_path / "two", "/mV", "")
    assert reason_of(tmp_path / "both") == "missing_units"
    (tmp_path / "two.hea").unlink()
    assert reason_of(tmp_path / "both") == "missing_file"


def several_a_frame(folder: Path, name: str, form: str, per_frame: int, limbs: int | None = None) -> Path:
    """Twelve leads with `per_frame` samples a frame of 50 Hz beside a signal of one; the wfdb library writes it."""
    sizes = [limbs or per_frame] * 6 + [per_frame] * 6 + [1]
    steps = [np.round(heartbeats(50 * size)[:, row % 12] * 200).astype(np.int64) for row, size in enumerate(sizes)]
    wfdb.wrsamp(
        name, fs=50, write_dir=str(folder), units=[*["mV"] * 12, "NU"], sig_name=[*CLINICAL, "RESP"], fmt=[form] * 13,
        e_d_signal=steps, samps_per_frame=sizes, adc_gain=[200.0] * 13, baseline=[0] * 13,
    )  # fmt: skip
    return folder / name


@pytest.mark.parametrize("form", ["16", "212", "24", "32"])
@pytest.mark.parametrize("per_frame", [2, 5, 10, 20])
def test_several_samples_a_frame_are_not_averaged(tmp_path: Path, form: str, per_frame: int) -> None:
    found = decode(several_a_frame(tmp_path, "rec", form, per_frame))
    assert found.sampling_frequency == 50 * per_frame
    np.testing.assert_allclose(found.signal.T, np.round(heartbeats(50 * per_frame) * 200) / 200, atol=1e-9)
    assert found.others == ("RESP",)


def test_leads_of_two_rates_are_refused(tmp_path: Path) -> None:
    assert reason_of(several_a_frame(tmp_path, "rec", "16", 10, limbs=5)) == "unknown_format"


def test_a_damaged_sample_of_many_a_frame_is_noticed(tmp_path: Path) -> None:
    path = several_a_frame(tmp_path, "rec", "16", 10)
    data = bytearray(path.with_suffix(".dat").read_bytes())
    data[4000] ^= 1
    path.with_suffix(".dat").write_bytes(data)
    assert reason_of(path) == "unreadable"


@pytest.mark.parametrize("form", ["16", "24", "212"])
@pytest.mark.parametrize("name", ["1.2.840", "2.25.33-7", "a_b.c"])
def test_names_with_dots(tmp_path: Path, form: str, name: str) -> None:
    """The wfdb library can write them, but not read them: the record's name is written over a plain one."""
    path = write_record(tmp_path / "rec", SIGNAL / 4, fmt=[form] * 12)
    expected = decode(path).signal
    text = path.with_suffix(".hea").read_text().replace("rec.dat", f"{name}.dat").replace("rec 12", f"{name} 12")
    (tmp_path / f"{name}.hea").write_text(text)
    (tmp_path / "rec.dat").rename(tmp_path / f"{name}.dat")
    for called in (name, f"{name}.hea", f"{name}.dat"):
        np.testing.assert_array_equal(decode(tmp_path / called).signal, expected)


@pytest.mark.parametrize("name", ["../rec.dat", "..", ".rec.dat", "rec..dat", "a/../rec.dat"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = edit_header(write_record(tmp_path / "rec", SIGNAL), "rec.dat 16", f"{name} 16")
    assert reason_of(path) == "unreadable"


def test_a_signal_file_leads_to_the_header_that_names_it(tmp_path: Path) -> None:
    path = write_record(tmp_path / "rec", SIGNAL)
    np.testing.assert_array_equal(decode(tmp_path / "rec.dat").signal, decode(path).signal)
    assert source_files(tmp_path / "rec.dat") == [tmp_path / "rec.hea", tmp_path / "rec.dat"], (
        "both count in the catalog"
    )
    edit_header(path, "rec.dat", "other.dat")
    assert reason_of(tmp_path / "rec.dat") == "unknown_format", "the header is another file's"
    path.with_suffix(".hea").unlink()
    with pytest.raises(Refusal, match="need its header"):
        decode(tmp_path / "rec.dat")


def segmented(folder: Path, header: str, **parts: np.ndarray) -> Path:
    for name, signal in parts.items():
        write_record(folder / name, signal)
    (folder / "both.hea").write_text(header)
    return folder / "both.hea"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("two 12 500", "two 12 250", "unreadable"),
        ("mV", "uV", "unreadable"),
        (" V6", " V5", "missing_leads"),
        (" V6", " V7", "missing_leads"),
        ("two 12 500 3000", "two 12 500 2999", "unreadable"),
    ],
    ids=["rate", "unit", "lead named twice", "lead is absent", "length"],
)
def test_segments_that_do_not_fit_are_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = segmented(tmp_path, "both/2 12 500 5000\none 2000\ntwo 3000\n", one=SIGNAL[:2000], two=SIGNAL[2000:])
    edit_header(tmp_path / "two", old, new)
    assert reason_of(path) == reason


def test_gaps_and_missing_leads_of_a_variable_layout(tmp_path: Path) -> None:
    """Equal to the wfdb library, which places the signals of a variable layout by name."""
    write_record(tmp_path / "all", SIGNAL[:1000])
    write_record(tmp_path / "some", SIGNAL[1000:2000, :6][:, ::-1], sig_name=CLINICAL[5::-1])
    layout = "".join(f"~ 0 1000/mV 16 0 0 0 0 {lead}\n" for lead in CLINICAL)
    (tmp_path / "names.hea").write_text(f"names 12 500 0\n{layout}")
    path = segmented(tmp_path, "both/4 12 500 2500\nnames 0\nall 1000\n~ 500\nsome 1000\n")
    found = decode(path)
    np.testing.assert_allclose(found.signal[:, :1000].T, SIGNAL[:1000], atol=1e-9)
    assert np.isnan(found.signal[:, 1000:1500]).all()
    np.testing.assert_allclose(found.signal[:6, 1500:].T, SIGNAL[1000:2000, :6], atol=1e-9)
    assert np.isnan(found.signal[6:, 1500:]).all()
    np.testing.assert_allclose(found.signal.T, wfdb.rdrecord(str(tmp_path / "both")).p_signal, atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("rec 12 500 5000", "rec 12", "missing_sampling_frequency"),
        ("rec 12 500 5000", "rec 12 0 5000", "missing_sampling_frequency"),
        ("/mV", "", "missing_units"),
        ("/mV", "/mmHg", "unknown_units"),
        ("1000.0(0)/mV", "0(0)/mV", "missing_units"),
        ("rec 12 500 5000", "rec 12 500 5001", "truncated"),
        ("rec 12 500 5000", "rec 12 500 4000", "unreadable"),
        ("rec 12 500 5000", "rec 11 500 5000", "unreadable"),
        ("rec 12 500 5000", "rec 12 500 99999999999", "unreadable"),
        ("rec 12 500 5000", "rec twelve", "unreadable"),
        ("rec.dat 16", "rec.dat 99", "unknown_format"),
        ("rec.dat 16", "rec.dat 212", "unreadable"),
        ("rec.dat 16", "rec.dat 16+24", "truncated"),
        ("rec.dat 16", "rec.dat 16x0", "unreadable"),
        ("rec.dat 16", "../rec.dat 16", "unreadable"),
        ("rec.dat 16", "/etc/passwd 16", "unreadable"),
        ("rec.dat 16", "other.dat 16", "missing_file"),
        ("rec.dat 16", "rec.dat sixteen", "unreadable"),
    ],
)
def test_lying_or_silent_headers(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = edit_header(write_record(tmp_path / "rec", SIGNAL), old, new)
    assert reason_of(path) == reason


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    for form in ("16", "24"):
        path = write_record(tmp_path / f"rec{form}", SIGNAL, fmt=[form] * 12)
        data = path.with_suffix(".dat").read_bytes()
        path.with_suffix(".dat").write_bytes(bytes([data[0] ^ 1]) + data[1:])
        assert reason_of(path) == "unreadable"


def test_truncated_signal_file(tmp_path: Path) -> None:
    path = write_record(tmp_path / "rec", SIGNAL)
    data = path.with_suffix(".dat").read_bytes()
    for size in (0, 1, len(data) // 2, len(data) - 1):
        path.with_suffix(".dat").write_bytes(data[:size])
        assert reason_of(path) == "truncated"


def test_nothing_is_allocated_for_an_absurd_header(tmp_path: Path) -> None:
    """A sparse file keeps the header's promise; only the limit stands in the way."""
    path = write_record(tmp_path / "rec", SIGNAL)
    samples = MAX_VALUES // 12 + 1
    edit_header(path, "500 5000", f"500 {samples}")
    with path.with_suffix(".dat").open("r+b") as file:
        file.truncate(samples * 24)
    assert reason_of(path) == "unreadable"


def test_the_export_may_state_what_the_file_does_not(tmp_path: Path) -> None:
    silent = edit_header(write_record(tmp_path / "rec", SIGNAL), "/mV", "")
    np.testing.assert_allclose(decode(silent, "uV").signal.T, SIGNAL / 1000, atol=1e-9)
    assert reason_of(silent, stated_unit="furlong") == "unknown_units"
    speechless = edit_header(silent, "rec 12 500 5000", "rec 12")
    assert decode(speechless, "mV", 500.0).sampling_frequency == 500
    assert reason_of(speechless, stated_unit="mV", stated_sampling_frequency=-1.0) == "missing_sampling_frequency"


def test_the_files_own_statement_wins(tmp_path: Path) -> None:
    found = decode(write_record(tmp_path / "rec", SIGNAL), "V", 250.0)
    np.testing.assert_allclose(found.signal.T, SIGNAL, atol=1e-9)
    assert found.sampling_frequency == 500


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"PK\x03\x04" + bytes(300), "Möglich?\n".encode("latin-1")])
def test_no_header_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rec.hea").write_bytes(content)
    assert reason_of(tmp_path / "rec") == "unreadable"
    assert list(files_of_record(tmp_path / "rec.hea")) == [tmp_path / "rec.hea"]
    (tmp_path / "picture.png").write_bytes(content)
    assert reason_of(tmp_path / "picture.png") == ("unknown_format" if content else "unreadable")


def test_an_absent_record_is_a_missing_file(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "rec") == "missing_file"


def test_a_header_states_what_it_states() -> None:
    header = parse_header(
        "# made up\nr 2 257.5/1(0) 10 12:00:00 01/01/2001\na.dat 16x2:3+24 1e3(-5)/uV 16 7 1 2 0 V 1 x\nb.dat 212"
    )
    assert (header.sampling_frequency, header.samples) == (257.5, 10)
    first, second = header.signals
    assert (first.per_frame, first.skew, first.offset, first.gain, first.baseline) == (2, 3, 24, 1000.0, -5)
    assert (first.unit, first.lead) == ("uV", "V 1 x")
    assert (second.gain, second.unit, second.lead) == (None, None, "")
    assert (header.files, header.checksums) == (("a.dat", "b.dat"), (2, None))


@given(at=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_read_or_refused(tmp_path: Path, at: list[tuple[int, int]]) -> None:
    """Nothing but a Refusal, whatever bytes changed; what is read is what the file holds."""
    path = tmp_path / "rec"
    if not path.with_suffix(".dat").exists():
        write_record(path, SIGNAL)
        path.with_suffix(".hea").rename(tmp_path / "whole")
    content = bytearray((tmp_path / "whole").read_bytes())
    for place, value in at:
        content[place % len(content)] = value
    path.with_suffix(".hea").write_bytes(content)
    with contextlib.suppress(Refusal):
        assert decode(path).signal.shape[1] == 5000
