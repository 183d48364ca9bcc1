"""Tables of text, MATLAB matrices and Mortara XML: against other readings; what they do not state is refused."""

import base64
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy import io

from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from helpers.ecg.ecg_files import STEP, ecg_steps, write_csv, write_mat, write_mortara
from helpers.ecg.wfdb_files import CLINICAL

STEPS = ecg_steps(seconds=2.0)
MILLIVOLTS = STEPS * STEP
STATED = {"stated_unit": "mV", "stated_sampling_frequency": 500.0, "stated_leads": CLINICAL}
ABOUT = {"stated_unit": "mV", "stated_sampling_frequency": 500.0}


def refusal_of(path: Path, **stated: object) -> str:
    with pytest.raises(Refusal) as refusal:
        decode(path, **stated)  # type: ignore[arg-type]
    return str(refusal.value)


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    (folder / "ecg.csv").write_text(text, encoding=encoding)
    return folder / "ecg.csv"


def rows(delimiter: str, decimal: str = ".", columns: np.ndarray = MILLIVOLTS) -> str:
    text = "\n".join(delimiter.join(f"{value:.4f}" for value in frame) for frame in columns.T)
    return text.replace(".", decimal)


@pytest.mark.parametrize(
    ("delimiter", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (" ", "."), ("  ", ",")]
)
@pytest.mark.parametrize("named", [True, False])
def test_tables_of_all_lands(tmp_path: Path, delimiter: str, decimal: str, named: bool) -> None:
    head = delimiter.join(CLINICAL) + "\n" if named else ""
    found = decode(written(tmp_path, head + rows(delimiter, decimal)), **(ABOUT if named else STATED))
    np.testing.assert_allclose(found.signal, MILLIVOLTS, atol=1e-9)
    assert (found.leads, found.sampling_frequency, found.format) == (tuple(CLINICAL), 500, "table")


def test_columns_are_taken_by_name(tmp_path: Path) -> None:
    """A byte order mark, quotes, a comment, another order, a column of times and one of words for numbers."""
    frame = pd.DataFrame({"Time (s)": np.arange(1000) / 500} | dict(zip(CLINICAL[::-1], MILLIVOLTS[::-1], strict=True)))
    frame["Resp"] = 1.0
    path = written(tmp_path, "# made up\n" + frame.to_csv(index=False, quoting=2), "utf-8-sig")
    found = decode(path, "mV", 500.0)
    assert found.leads == tuple(CLINICAL[::-1])
    assert found.others == ("Time (s)", "Resp")
    np.testing.assert_allclose(found.signal[::-1], MILLIVOLTS, atol=1e-9)
    assert "contradicts the stated 250 Hz" in refusal_of(path, **ABOUT | {"stated_sampling_frequency": 250.0})


@pytest.mark.parametrize("factor", [1.0, 1e3, 1e6, 500.0])
def test_times_may_be_in_any_unit_or_count_samples(tmp_path: Path, factor: float) -> None:
    times = np.arange(1000) / 500 * factor
    path = written(tmp_path, "t," + ",".join(CLINICAL) + "\n" + rows(",", ".", np.vstack([times, MILLIVOLTS])))
    np.testing.assert_allclose(decode(path, "mV", 500.0).signal, MILLIVOLTS, atol=1e-9)


def test_a_gap_in_the_times_is_refused(tmp_path: Path) -> None:
    times = np.arange(1000) / 500
    times[600:] += 3
    path = written(tmp_path, "t," + ",".join(CLINICAL) + "\n" + rows(",", ".", np.vstack([times, MILLIVOLTS])))
    assert "leaves samples out" in refusal_of(path, **ABOUT)


def test_a_row_may_be_a_lead(tmp_path: Path) -> None:
    found = decode(written(tmp_path, rows(",", ".", MILLIVOLTS.T)), **STATED)
    np.testing.assert_allclose(found.signal, MILLIVOLTS, atol=1e-9)


def test_an_empty_cell_is_a_missing_sample(tmp_path: Path) -> None:
    lines = (",".join(CLINICAL) + "\n" + rows(",")).splitlines()
    cells = lines[5].split(",")
    lines[5] = ",".join([*cells[:3], "", *cells[4:]])
    found = decode(written(tmp_path, "\n".join(lines)), **ABOUT)
    assert np.argwhere(np.isnan(found.signal)).tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Resp,B\n1,2\n3,4", "found 2 other names"),
        ("I,II\n1,2\n3", "count of cells"),
        ("I,II\n1,2\n3,x", "number in every cell"),
        ("I,II,III\n1,2\n3,4", "3 names for 2 columns"),
        ("I;II\n1,5;2.5\n3;4", "with points and with commas"),
        ("1,2\n3,4", "12 leads do not fit"),
    ],
)
def test_tables_that_cannot_be_trusted(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal_of(written(tmp_path, text), **(STATED if text[0].isdigit() else ABOUT))


def test_what_a_table_does_not_state_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path, STEPS)
    assert refusal_of(path, stated_unit="mV").startswith("missing_sampling_frequency")
    assert refusal_of(path, stated_sampling_frequency=500.0).startswith("missing_units")
    bare = written(tmp_path, rows(","))
    assert refusal_of(bare, **ABOUT).startswith("missing_leads")


@pytest.mark.parametrize("compress", [True, False])
def test_matlab_is_what_scipy_reads(tmp_path: Path, compress: bool) -> None:
    path = write_mat(tmp_path, STEPS, compress)
    np.testing.assert_array_equal(decode(path, **STATED).signal, io.loadmat(path)["val"])
    assert refusal_of(path, **ABOUT).startswith("missing_leads")
    io.savemat(path, {"one": MILLIVOLTS, "other": MILLIVOLTS})
    assert "2 matrices have 12 leads" in refusal_of(path, **STATED)
    io.savemat(path, {"one": MILLIVOLTS[:5]})
    assert "no matrices have 12 leads" in refusal_of(path, **STATED)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    assert "save it as version 7" in refusal_of(path, **STATED)


def test_mortara_against_a_plain_reading(tmp_path: Path) -> None:
    path = write_mortara(tmp_path, STEPS)
    found = decode(path)
    expected = [
        np.frombuffer(base64.b64decode(channel.attrib["DATA"]), "<i2") / float(channel.attrib["UNITS_PER_MV"])
        for channel in ElementTree.parse(path).getroot().iter("CHANNEL")
    ]
    np.testing.assert_array_equal(found.signal, expected)
    assert (found.format, found.sampling_frequency, found.leads) == ("Mortara", 500, tuple(CLINICAL))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"UNITS_PER_MV": "0"}, "missing_units"),
        ({"UNITS_PER_MV": ""}, "missing_units"),
        ({"SAMPLE_FREQ": "1000"}, "unknown_format"),
        ({"OFFSET": "5"}, "unknown_format"),
        ({"BITS": "12"}, "unknown_format"),
        ({"FORMAT": "UNSIGNED"}, "unknown_format"),
        ({"ENCODING": "HEX"}, "unknown_format"),
        ({"DURATION": "1001"}, "truncated"),
        ({"DURATION": "999"}, "unreadable"),
        ({"DURATION": ""}, "unreadable"),
        ({"DURATION": "99999999999"}, "truncated"),
        ({"DATA": "no*base64"}, "unreadable"),
        ({"BITS": "8", "DURATION": "2000"}, "unreadable"),
    ],
)
def test_lying_or_silent_mortara(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    assert refusal_of(write_mortara(tmp_path, STEPS, changes=changes)).startswith(words)
