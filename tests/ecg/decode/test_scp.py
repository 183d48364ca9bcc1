"""SCP-ECG: tables of one's own, differences, reference beat, bimodal compression, checksums."""

import binascii
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.scp import decode_huffman, default_table, read_sections, read_tables
from helpers.ecg.ecg_files import STEP, ecg_steps
from helpers.ecg.scp_files import (
    default_bits,
    default_huffman,
    differences,
    leads_body,
    plain,
    record,
    samples_body,
    table_row,
    to_bytes,
    write_scp,
)  # fmt: skip
from helpers.ecg.wfdb_files import CLINICAL
from helpers.paths import Recording

STEPS = ecg_steps(seconds=2.0)
WIDE = st.lists(st.one_of(st.integers(-9, 9), st.integers(-(2**15), 2**15 - 1)), max_size=60)
# Values of -1, 0 and 1; a literal of 12 bits; codes that go on with the other table.
OWN = [
    [table_row("0", 0), table_row("10", 0, literal=16), table_row("11", 2, switch=True)],
    [table_row("0", 1), table_row("10", -1), table_row("11", 1, switch=True)],
]
OWN_TABLES = struct.pack("<H", 2) + b"".join(struct.pack("<H", len(rows)) + b"".join(rows) for rows in OWN)


def own_huffman(values: list[int]) -> bytes:
    """Both tables in turn."""
    bits = ""
    for value in values:
        bits += {0: "0", 1: "11" + "0" + "11", -1: "11" + "10" + "11"}.get(value, f"10{value & 0xFFFF:016b}")
    return to_bytes(bits)


def reason_of(path: Path) -> str:
    with pytest.raises(Refusal) as refusal:
        decode(path)
    return refusal.value.reason


@given(values=WIDE)
@settings(max_examples=200, deadline=None)
def test_the_default_code_is_read_back(values: list[int]) -> None:
    np.testing.assert_array_equal(decode_huffman(default_huffman(values), [default_table()], len(values)), values)


@given(values=WIDE)
@settings(max_examples=100, deadline=None)
def test_tables_of_ones_own_are_read_back(values: list[int]) -> None:
    np.testing.assert_array_equal(decode_huffman(own_huffman(values), read_tables(OWN_TABLES), len(values)), values)


def test_the_default_table_written_out_is_the_default_table() -> None:
    rows = [table_row(default_bits(value), value) for value in range(-8, 9)]
    rows += [table_row("1111111110", 0, literal=8), table_row("1111111111", 0, literal=16)]
    assert read_tables(struct.pack("<HH", 1, 19) + b"".join(rows)) == [default_table()]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize(
    ("encode", "tables"),
    [(default_huffman, struct.pack("<H", 19999)), (own_huffman, OWN_TABLES), (plain, None)],
    ids=["default", "own", "plain"],
)
def test_differences_and_codes(tmp_path: Path, order: int, encode: object, tables: bytes | None) -> None:
    path = write_scp(tmp_path, STEPS[:, :500], order, encode, tables)  # type: ignore[arg-type]
    np.testing.assert_allclose(decode(path).signal, STEPS[:, :500] * STEP, atol=1e-12)


def test_the_real_file_against_a_slow_reading(recording: Recording) -> None:
    """Codes looked up as text, differences summed one by one; the same file gives the same steps."""
    path = recording("scp_ecg/ecgtoolkit/Example.scp")
    body = read_sections(path.read_bytes())[6]
    nanovolts, _, order = struct.unpack_from("<HHB", body)
    sizes = struct.unpack_from("<12H", body, 6)
    codes = {default_bits(value): value for value in range(-8, 9)}
    found, at = decode(path), 30
    assert order == 2
    for row, size in enumerate(sizes[:3]):
        bits = "".join(f"{byte:08b}" for byte in body[at : at + size])
        at, values, place = at + size, [], 0
        while len(values) < 5000:
            end = place + 1
            while bits[place:end] not in codes and end - place < 10:
                end += 1
            if bits[place:end] in codes:
                value = codes[bits[place:end]]
            else:
                literal = {"1111111110": 8, "1111111111": 16}[bits[place:end]]
                value = int(bits[end : end + literal], 2)
                value -= (1 << literal) * (bits[end] == "1")
                end += literal
            values.append(value if len(values) < 2 else value + 2 * values[-1] - values[-2])
            place = end
        np.testing.assert_allclose(found.signal[row], np.array(values) * nanovolts * 1e-6, atol=1e-12)


def test_leads_that_start_late_begin_with_missing_samples(tmp_path: Path) -> None:
    spans = [(1, 1000)] * 6 + [(101, 900)] * 6
    rows = [differences(row[start - 1 : end], 2) for row, (start, end) in zip(STEPS, spans, strict=True)]
    bodies = {3: leads_body(spans, CLINICAL, False), 6: samples_body(rows, plain, 5000, 2000, 2)}
    (tmp_path / "ecg.scp").write_bytes(record(bodies))
    found = decode(tmp_path / "ecg.scp").signal
    np.testing.assert_allclose(found[6:, 100:900], STEPS[6:, 100:900] * STEP, atol=1e-12)
    assert np.isnan(found).sum() == 6 * 200


def test_samples_may_count_from_0(tmp_path: Path) -> None:
    expected = decode(write_scp(tmp_path, STEPS)).signal
    bodies = read_sections((tmp_path / "ecg.scp").read_bytes())
    bodies[3] = leads_body([(0, STEPS.shape[1] - 1)] * 12, CLINICAL, False)
    (tmp_path / "ecg.scp").write_bytes(record(bodies))
    np.testing.assert_array_equal(decode(tmp_path / "ecg.scp").signal, expected)
    bodies[3] = leads_body([(0, STEPS.shape[1])] * 12, CLINICAL, False)
    (tmp_path / "ecg.scp").write_bytes(record(bodies))
    assert reason_of(tmp_path / "ecg.scp") == "truncated"
    bodies[3] = leads_body([(0, STEPS.shape[1] - 1)] * 12, CLINICAL, True)
    (tmp_path / "ecg.scp").write_bytes(record(bodies))
    assert reason_of(tmp_path / "ecg.scp") == "unreadable", "whether its beats count from 0, too, is not known"


def compressed(bimodal: bool) -> tuple[bytes, np.ndarray]:
    """A file whose reference beat was subtracted around two beats, and the signal it stands for.

    Steps are of 5 uV in the rhythm and 2.5 uV in the beat; beside the protected zones a value holds for four samples.
    """
    spans, zones = [(150, 201, 280), (550, 601, 700)], [(181, 220), (581, 620)]
    beat = np.rint(np.random.default_rng(4).normal(0, 60, (12, 200))).astype(np.int64)
    residual = np.rint(np.random.default_rng(5).normal(0, 4, (12, 1000))).astype(np.int64)
    if bimodal:
        inside = np.zeros(1000, bool)
        for start, end in zones:
            inside[start - 1 : end] = True
        residual[:, ~inside] = np.repeat(np.arange(12)[:, None], (~inside).sum(), axis=1)
        kept = inside | (np.arange(1000) % 4 == 0)
    else:
        kept = np.ones(1000, bool)
    whole = residual * STEP
    for start, fiducial, end in spans:
        here = np.arange(start, end + 1)
        whole[:, here - 1] += beat[:, here - fiducial + 100 - 1] * 0.0025
    section_4 = struct.pack("<HHH", 400, 100, 3)
    section_4 += b"".join(struct.pack("<HIII", 0, *span) for span in spans) + struct.pack("<HIII", 1, 700, 720, 740)
    section_4 += b"".join(struct.pack("<II", *zone) for zone in [*zones, (801, 800)])
    bodies = {
        2: struct.pack("<H", 19999),
        3: leads_body([(1, 1000)] * 12, CLINICAL, True),
        4: section_4,
        5: samples_body([differences(row, 1) for row in beat], default_huffman, 2500, 2000, 1),
        6: samples_body([differences(row[kept], 1) for row in residual], default_huffman, 5000,
                        8000 if bimodal else 2000, 1, bimodal),
    }  # fmt: skip
    return record(bodies), whole


@pytest.mark.parametrize("bimodal", [False, True])
def test_the_reference_beat_is_added_again(tmp_path: Path, bimodal: bool) -> None:
    content, expected = compressed(bimodal)
    (tmp_path / "ecg.scp").write_bytes(content)
    found = decode(tmp_path / "ecg.scp")
    assert found.sampling_frequency == 500
    np.testing.assert_allclose(found.signal, expected, atol=1e-12)


def test_decimated_samples_are_joined_by_lines(tmp_path: Path) -> None:
    """A ramp comes back as a ramp between the knots, level for two samples at either end."""
    coarse = np.arange(0, 200, 8)
    bodies = {
        3: leads_body([(1, 104)] * 12, CLINICAL, False),
        4: struct.pack("<HHH", 8, 1, 1) + struct.pack("<HIII", 1, 1, 1, 1) + struct.pack("<II", 101, 104),
        5: samples_body([[0] * 4] * 12, plain, 5000, 2000, 0),
        6: samples_body([[*coarse.tolist(), 7, 7, 7, 7]] * 12, plain, 5000, 8000, 0, True),
    }
    (tmp_path / "ecg.scp").write_bytes(record(bodies))
    steps = decode(tmp_path / "ecg.scp").signal[0] / STEP
    np.testing.assert_allclose(steps[:100], np.clip(2.0 * (np.arange(100) - 2), 0, 192), atol=1e-9)
    np.testing.assert_allclose(steps[100:], 7, atol=1e-9)


def test_a_wrong_byte_is_noticed(tmp_path: Path) -> None:
    content = write_scp(tmp_path, STEPS).read_bytes()
    for at in (0, 30, 160, 400, len(content) - 3):
        (tmp_path / "bad.scp").write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert reason_of(tmp_path / "bad.scp") in ("unreadable", "truncated")
    for size in (22, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "bad.scp").write_bytes(content[:size])
        assert reason_of(tmp_path / "bad.scp") == "truncated"


@pytest.mark.parametrize(
    ("number", "at", "value", "reason"),
    [
        (6, 0, b"\0\0", "missing_units"),
        (6, 2, b"\0\0", "missing_sampling_frequency"),
        (6, 4, b"\3", "unreadable"),
        (6, 5, b"\1", "unreadable"),  # bimodal without a reference beat
        (6, 6, b"\xff\xff", "truncated"),
        (6, 6, b"\2\0", "truncated"),
        (3, 0, b"\0", "missing_leads"),
        (3, 0, b"\xff", "unreadable"),
        (3, 1, b"\1", "unreadable"),  # subtracted, and no reference beat
        (3, 6, b"\xff\xff\xff\xff", "unreadable"),
        (3, 6, b"\0\0\0\0", "unreadable"),
        (2, 0, b"\0\0", "unreadable"),
        (2, 0, b"\1\0", "unreadable"),
    ],
)
def test_lying_sections(tmp_path: Path, number: int, at: int, value: bytes, reason: str) -> None:
    """The checksums are right; what they cover is not."""
    bodies = read_sections(write_scp(tmp_path, STEPS).read_bytes())
    bodies[number] = bodies[number][:at] + value + bodies[number][at + len(value) :]
    (tmp_path / "bad.scp").write_bytes(record(bodies))
    assert reason_of(tmp_path / "bad.scp") == reason


@pytest.mark.parametrize("missing", [3, 6])
def test_a_file_without_rhythm_is_refused(tmp_path: Path, missing: int) -> None:
    bodies = read_sections(write_scp(tmp_path, STEPS).read_bytes())
    del bodies[missing]
    (tmp_path / "bad.scp").write_bytes(record(bodies))
    assert reason_of(tmp_path / "bad.scp") == "unknown_format"


def test_other_leads_are_left_out(tmp_path: Path) -> None:
    bodies = read_sections(write_scp(tmp_path, STEPS).read_bytes())
    bodies[3] = bodies[3][:10] + bytes([131]) + bodies[3][11:]  # I becomes a lead that is none of the twelve
    (tmp_path / "ecg.scp").write_bytes(record(bodies))
    assert decode(tmp_path / "ecg.scp").leads == tuple(CLINICAL[1:])


def test_the_checksum_is_the_standards() -> None:
    """CRC-CCITT, start 0xFFFF (EN 1064, 5.2.4): the known value of `123456789`."""
    assert binascii.crc_hqx(b"123456789", 0xFFFF) == 0x29B1
