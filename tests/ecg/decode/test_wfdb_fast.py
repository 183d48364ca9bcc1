"""Plain records read once: the same numbers, hashes and refusals as the reader for all records."""

from pathlib import Path

import numpy as np
import pytest

from echoingecg.common import Refusal, hash_files
from echoingecg.ecg.decode import decode, source_files
from echoingecg.ecg.decode.recording import Stated, arrange
from echoingecg.ecg.decode.wfdb_fast import decode_plain, read_plain
from echoingecg.ecg.process import process
from echoingecg.recipe import EcgSettings
from helpers.ecg.wfdb_files import CLINICAL, edit_header, heartbeats, write_record

SETTINGS = EcgSettings()
SIGNAL = heartbeats()


def same(path: Path, unit: str | None = None, rate: float | None = None) -> None:
    """The plain route takes the record and gives the other's numbers."""
    record = read_plain(path)
    assert record is not None
    assert record.content_hash() == hash_files(source_files(path))
    found = decode_plain(record, Stated(unit, rate))
    assert found is not None
    expected = decode(path, unit, rate)
    assert found[0].tobytes() == arrange(expected).astype(np.float32).tobytes()
    assert found[1] == expected.sampling_frequency


def test_every_real_recording(recordings: Path) -> None:
    plain = [path for path in sorted(recordings.rglob("*.hea")) if read_plain(path) is not None]
    assert plain
    for path in plain:
        same(path)


def test_order_gains_offsets_gaps_and_a_thirteenth_signal(tmp_path: Path) -> None:
    holed = np.column_stack([SIGNAL[:, ::-1], SIGNAL[:, 0]])
    holed[100:200, 3] = np.nan
    names = [*CLINICAL[::-1], "resp"]
    gains = [100.0 + 50 * row for row in range(13)]
    same(
        write_record(tmp_path / "rec", holed, 500, sig_name=names, units=["uV"] * 13, fmt=["16"] * 13, adc_gain=gains,
                     baseline=list(range(-6, 7)))
    )  # fmt: skip


def test_date_comments_and_stated_values(tmp_path: Path) -> None:
    path = edit_header(write_record(tmp_path / "rec", SIGNAL), " 12 500 5000", " 12 500 5000 08:44:00 23/07/2180")
    header = path.with_name("rec.hea")
    header.write_text("# of a cart\n" + header.read_text() + "\n# end\n")
    same(path)
    header.write_text(header.read_text().replace("/mV", ""))
    same(path, unit="uV")
    assert decode_plain(read_plain(path), Stated()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("gain", [204.7, 1e-9])
def test_a_scale_without_exact_float32_goes_the_other_way(tmp_path: Path, gain: float) -> None:
    path = edit_header(write_record(tmp_path / "rec", SIGNAL), "1000.0(0)/mV", f"{gain}(0)/mV")
    record = read_plain(path)
    assert record is not None
    assert decode_plain(record, Stated()) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [("rec.dat 16 ", "rec.dat 16:1 "), ("rec.dat 16 ", "rec.dat 16x2 "), ("rec.dat 16 ", "rec.dat 212 "),
     ("rec.dat 16 ", "rec.dat 16+24 "), ("rec.dat", "../rec.dat"), ("rec.dat", "rec.d-t"), ("rec.dat", "none.dat"),
     (" 12 500 5000", " 12 500 4999"), (" 12 500 5000", " 12 500"), ("rec 12", "rec/2 12")],
)  # fmt: skip
def test_what_is_not_plain(tmp_path: Path, old: str, new: str) -> None:
    assert read_plain(edit_header(write_record(tmp_path / "rec", SIGNAL), old, new)) is None


def test_damage_is_refused_as_ever(tmp_path: Path) -> None:
    path = write_record(tmp_path / "rec", SIGNAL)
    data = bytearray((tmp_path / "rec.dat").read_bytes())
    data[5000] ^= 1
    (tmp_path / "rec.dat").write_bytes(data)
    with pytest.raises(Refusal, match="checksum"):
        process(path, SETTINGS)
    (tmp_path / "rec.dat").write_bytes(data[:-2])
    with pytest.raises(Refusal, match="truncated"):
        process(path, SETTINGS)
    (tmp_path / "rec.dat").unlink()
    with pytest.raises(Refusal, match="missing_file"):
        process(path, SETTINGS)


@pytest.mark.parametrize("content", [b"", b"\n", b"#", b"rec", b"rec 12 500 5000\n", b"\xff" * 40, b"x" * 200])
def test_no_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rec.hea").write_bytes(content)
    assert read_plain(tmp_path / "rec") is None
    assert read_plain(tmp_path / "absent") is None
