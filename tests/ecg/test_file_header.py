"""What ECG files state beside their signal, and the tables that are written from it."""

import csv
import re
import shutil
import stat
import struct
from datetime import datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from echoingecg.common import Refusal, UserError, result_or_refusal
from echoingecg.ecg.file_header import EcgHeader, read_header
from echoingecg.ecg.file_list import list_ecgs, write_list
from flows.cli.main import app
from helpers.cases.hospital import tables_of
from helpers.ecg.ecg_files import ecg_steps, write_aecg, write_cardiosoft
from helpers.ecg.scp_files import record, write_scp
from helpers.paths import Recording

MUSE, PHILIPS, SIERRA = (
    "muse_xml/easyRecg/muse_ecg1.xml",
    "philips_xml/129DYPRG.XML",
    "philips_xml/2020-5-18_15-48-11.xml",
)
# Read off the files by eye.
STATED = {
    MUSE: EcgHeader(
        "JAX01234",
        datetime(2021, 5, 10, 13, 15, 18),
        "M",
        60,
        ("Statement Text(22)", "Statement Text(1684)", "Statement Text(1300)"),
    ),
    PHILIPS: EcgHeader(
        "1112010721168bdc",
        datetime(2011, 12, 1, 7, 27, 34),
        "M",
        50,
        (
            "Sinus bradycardia rate< 50",
            "Nonspecific intraventricular conduction delay QRSd >115mS, not LBBB/RBBB",
            "Inferior infarct, acute (LCx) ST>0.10mV, II III aVF, STd V1-V3",
            ">>> Acute MI <<<",
        ),
    ),
    "muse_xml/ecg2dcm/synthetic_muse.xml": EcgHeader(
        "SYNTH0001", datetime(2025, 8, 17, 9, 15, 11), "M", 45, ("Sinus rhythm (synthetic example)",)
    ),
    "hl7_aecg/jhu/hl7aecg-Example2.xml": EcgHeader("106_ABC", datetime(2004, 1, 15, 11, 20, 4), "", 32),
    "scp_ecg/ecgtoolkit/Example.scp": EcgHeader("SBJ-123", datetime(2002, 11, 22, 9, 10), "M", 49),
}


@pytest.mark.parametrize("name", STATED)
def test_a_real_file(recording: Recording, name: str) -> None:
    assert read_header(recording(name)) == STATED[name]


def test_a_real_dicom_file_is_read_as_by_pydicom() -> None:
    path = Path(get_testdata_file("waveform_ecg.dcm"))
    theirs = pydicom.dcmread(path)
    header = read_header(path)
    assert (header.patient, header.sex) == (theirs.PatientID, theirs.PatientSex)
    assert f"{header.time:%Y%m%d%H%M%S}" == theirs.AcquisitionDateTime[:14]
    assert header.age == int(theirs.PatientAge[:3])
    stated = [str(item.get("UnformattedTextValue", "")) for item in theirs.WaveformAnnotationSequence]
    assert header.statements == tuple(" ".join(text.split()) for text in stated if text.strip())
    assert "RITMO SINUSALE" in header.statements


def changed(recording: Recording, folder: Path, name: str, old: str, new: str, encoding: str = "utf-8") -> Path:
    text = recording(name).read_bytes().decode(encoding)
    assert re.search(old, text)
    path = folder / Path(name).name
    path.write_bytes(re.sub(old, new, text, count=1).encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "old", "new", "detail"),
    [
        (MUSE, "<PatientID>.*</PatientID>", "", "the file states no patient number, or a placeholder"),
        (MUSE, "JAX01234", "0000", "the file states no patient number, or a placeholder"),
        (PHILIPS, "<patientid>.*<", "<patientid>xxxxxx<", "the file states no patient number, or a placeholder"),
        (MUSE, "05-10-2021", "25-10-2021", "a time that is not written as MM-DD-YYYY hh:mm:ss"),
        (MUSE, "<AcquisitionDate>.*</AcquisitionDate>", "", "a time that is not written as MM-DD-YYYY hh:mm:ss"),
        (PHILIPS, 'date="2011-12-01" time="07:27:34" statflag', "statflag", "the file states no time"),
    ],
)
def test_what_must_be_stated(recording: Recording, tmp_path: Path, name: str, old: str, new: str, detail: str) -> None:
    with pytest.raises(Refusal) as refusal:
        read_header(changed(recording, tmp_path, name, old, new))
    assert (refusal.value.reason, refusal.value.detail) == ("bad_row", detail)


@pytest.mark.parametrize(
    ("name", "old", "new", "sex", "age"),
    [
        (MUSE, "<AgeUnits>YEARS", "<AgeUnits>MONTHS", "M", None),
        (MUSE, "MALE", "UNKNOWN", "", 60),
        (MUSE, "<PatientAge>60", "<PatientAge>160", "M", None),
        (MUSE, "<PatientAge>60</PatientAge>", "<DateofBirth>05-11-1960</DateofBirth>", "M", 60),
        (MUSE, "<PatientAge>60</PatientAge>", "<DateofBirth>05-10-1960</DateofBirth>", "M", 61),
        (PHILIPS, "<sex>Male", "<sex>Female", "F", 50),
    ],
)
def test_sex_and_age(
    recording: Recording, tmp_path: Path, name: str, old: str, new: str, sex: str, age: int | None
) -> None:
    """A day before the birthday, and on it."""
    header = read_header(changed(recording, tmp_path, name, old, new))
    assert (header.sex, header.age) == (sex, age)


def test_a_stated_default_age_is_no_age(recording: Recording, tmp_path: Path) -> None:
    """`defaultage` of a cart is a setting; the date of birth of this file is 1951-01-01."""
    path = changed(recording, tmp_path, SIERRA, "<patientid>x+", "<patientid>P5", "utf-16")
    header = read_header(path)
    assert (header.patient, header.sex, header.age) == ("P5", "", 69)
    assert header.statements[0] == "Sinus rhythm normal P axis, V-rate 50-99"


CARDIOSOFT = """<ObservationDateTime><Hour>9</Hour><Minute>5</Minute><Second>7</Second><Day>3</Day><Month>11</Month>
<Year>2014</Year></ObservationDateTime><PatientInfo><PID>{pid}</PID><Age units="{units}">{age}</Age><BirthDateTime>
<Day>4</Day><Month>11</Month><Year>1950</Year></BirthDateTime><Gender>FEMALE</Gender></PatientInfo><Interpretation>
<Diagnosis><DiagnosisText>Sinus rhythm</DiagnosisText></Diagnosis>{more}</Interpretation>"""


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("a.xml", {"pid": "C77"}, ("C77", 61, "Sinus rhythm")),
        ("1234567_20205_2_0.xml", {"pid": ""}, ("1234567", 61, "Sinus rhythm")),
        ("1234567_20205_3_0.XML", {"pid": "C77"}, ("1234567", 61, "Sinus rhythm")),
        ("12345_1.xml", {"pid": ""}, None),
        ("a.xml", {"pid": "C77", "age": ""}, ("C77", 63, "Sinus rhythm")),  # a day before the birthday
        ("a.xml", {"pid": "C77", "units": "months"}, ("C77", 63, "Sinus rhythm")),
        (
            "a.xml",
            {"pid": "C77", "more": "<Conclusion><ConclusionText>Normal</ConclusionText></Conclusion>"},
            ("C77", 61, "Normal"),
        ),
    ],
)
def test_a_cardiosoft_file(
    tmp_path: Path, name: str, values: dict[str, str], expected: tuple[str, int, str] | None
) -> None:
    """No real file is at hand: fields as public readers of UK Biobank's files read them."""
    plain = write_cardiosoft(tmp_path, ecg_steps(seconds=2.0)).read_text(encoding="latin-1")
    stated = CARDIOSOFT.format(**{"units": "years", "age": "61", "more": ""} | values)
    (tmp_path / name).write_text(plain.replace("<RestingECG", f"{stated}<RestingECG", 1), encoding="latin-1")
    outcome = result_or_refusal(lambda: read_header(tmp_path / name))
    if expected is None:
        assert isinstance(outcome, Refusal)
        assert (outcome.reason, outcome.detail) == ("bad_row", "the file states no patient number, or a placeholder")
    else:
        patient, age, statement = expected
        assert outcome == EcgHeader(patient, datetime(2014, 11, 3, 9, 5, 7), "F", age, (statement,))


def test_files_that_name_no_patient(tmp_path: Path) -> None:
    steps = ecg_steps(seconds=2.0)
    (tmp_path / "note.txt").write_text("a note")
    (tmp_path / "page.xml").write_text("<page/>")
    for path, reason in (
        (tmp_path / "note.txt", "unknown_format"),
        (tmp_path / "page.xml", "unknown_format"),
        (write_scp(tmp_path, steps), "bad_row"),
        (write_aecg(tmp_path, steps), "bad_row"),
    ):
        with pytest.raises(Refusal) as refusal:
            read_header(path)
        assert refusal.value.reason == reason


@pytest.fixture
def folder(recording: Recording, tmp_path: Path) -> Path:
    """Two ECGs in subfolders, beside a note."""
    (tmp_path / "2021").mkdir()
    shutil.copy(recording(MUSE), tmp_path / "2021/a.xml")
    shutil.copy(recording(PHILIPS), tmp_path / "b.XML")
    (tmp_path / "readme.txt").write_text("from the cart")
    (tmp_path / "link.xml").symlink_to(tmp_path / "b.XML")
    return tmp_path


def test_a_folder_becomes_an_export(folder: Path) -> None:
    answer = CliRunner().invoke(app, ["list-ecgs", str(folder), "--reports"])
    assert answer.exit_code == 0, answer.output
    assert "2 ECGs of 2 patients" in answer.output
    assert "1 files left out: unknown_format 1" in answer.output
    with (folder / "ecgs.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["patient_id", "ecg_id", "time", "path", "sex", "age"],
            ["JAX01234", "2021/a.xml", "2021-05-10 13:15:18", "2021/a.xml", "M", "60"],
            ["1112010721168bdc", "b.XML", "2011-12-01 07:27:34", "b.XML", "M", "50"],
        ]
    assert stat.S_IMODE((folder / "ecgs.csv").stat().st_mode) == 0o600
    tables = tables_of(folder)
    assert tables["ecgs"].num_rows == tables["reports"].num_rows == 2
    assert tables["quarantine"].num_rows == 0
    assert {(row["sex"], row["age"]) for row in tables["subgroups"].to_pylist()} == {("M", 60.0), ("M", 50.0)}
    texts = tables["reports"]["text"].to_pylist()
    assert "Statement Text(22). Statement Text(1684). Statement Text(1300)." in texts


def test_a_table_is_replaced_only_if_asked(folder: Path) -> None:
    listed = list_ecgs(folder)
    write_list(listed, folder, reports=False, replace=False)
    assert not (folder / "reports.csv").exists()
    with pytest.raises(UserError, match="is there already: --replace"):
        write_list(listed, folder, reports=False, replace=False)
    before = (folder / "ecgs.csv").read_bytes()
    again = list_ecgs(folder)
    write_list(again, folder, reports=False, replace=True)
    assert (folder / "ecgs.csv").read_bytes() == before, "the tables are no ECGs"


def test_a_folder_without_ecgs_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        list_ecgs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no file"):
        list_ecgs(tmp_path)
    (tmp_path / "note.txt").write_text("a note")
    with pytest.raises(UserError, match="none of 1 files can be listed; the first: unknown_format"):
        write_list(list_ecgs(tmp_path), tmp_path, reports=True, replace=False)


def tag(number: int, value: bytes) -> bytes:
    return struct.pack("<BH", number, len(value)) + value


def test_the_sections_of_an_scp_file(tmp_path: Path) -> None:
    """EN 1064: section 1 has tags, section 8 a head of nine bytes and the statements."""
    patient = tag(2, b"P7\0") + tag(4, struct.pack("<HB", 71, 1)) + tag(8, b"\2") + tag(2, b"other\0")
    patient += tag(25, struct.pack("<HBB", 2019, 12, 31)) + tag(26, bytes((23, 59, 58))) + tag(255, b"")
    said = b"\1" + struct.pack("<HBB", 2020, 1, 1) + bytes((8, 0, 0, 2)) + tag(1, b"Sinus rhythm\0") + tag(2, b"LVH\0")
    path = tmp_path / "ecg.scp"
    path.write_bytes(record({1: patient, 8: said}))
    assert read_header(path) == EcgHeader("P7", datetime(2019, 12, 31, 23, 59, 58), "F", 71, ("Sinus rhythm", "LVH"))
    path.write_bytes(record({1: patient.replace(struct.pack("<HB", 71, 1), struct.pack("<HB", 71, 2))}))
    assert read_header(path).age is None, "months"
    path.write_bytes(record({1: patient.replace(struct.pack("<HBB", 2019, 12, 31), struct.pack("<HBB", 2019, 13, 31))}))
    with pytest.raises(Refusal, match="YYYYMMDDhhmmss"):
        read_header(path)
