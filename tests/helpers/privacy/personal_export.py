"""A simulated hospital that was never de-identified: who the patients are stands wherever a file has room for it.

Report texts alone are clean: data_contracts/README.md asks the hospital for that.
"""

import struct
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.encaps import encapsulate, generate_frames

from echoingecg.ecg.decode import decode
from helpers.cases.hospital import read_csv, write_csv
from helpers.ecg.ecg_files import STEP, write_aecg, write_dicom, write_edf, write_muse, write_philips, write_wfdb
from helpers.ecg.scp_files import write_scp
from helpers.ecg.wfdb_files import CLINICAL

SURNAME, GIVEN, WARD, TELEPHONE = "Quillfeather", "Zebediah", "Larkspurward", "0555-4417-0199"
BIRTHS = ("1951-03-07", "19510307", "07-MAR-1951", "07/03/1951", "07.03.1951")
PATIENT, STUDY, ECG, REPORT = "MRN-QF", "ACC-QF", "ORD-QF", "DOC-QF"  # prefixes of the hospital's numbers
PRINTED = "Quillfeather"  # burned into the clips
FORMATS = ("wfdb", "dicom", "muse", "philips", "aecg", "scp", "edf")


def write_export(simulated: Path, folder: Path) -> tuple[Path, set[str]]:
    """The simulated export (MIMIC-IV layout, ECGs in WFDB at 5 uV a step) once more, in the generic layout.

    Returns:
        The folder, and every date and time that its tables hold.
    """
    ecgs, reports = _ecgs(simulated / "mimic-iv-ecg", folder)
    echoes, more, measurements = _echoes(simulated / "mimic-iv-echo", folder)
    _spoil(folder, ecgs, echoes, measurements)
    for name, rows in (("ecgs", ecgs), ("echoes", echoes), ("reports", reports + more), ("measurements", measurements)):
        write_csv(folder / f"{name}.csv", [row | _columns(row["patient_id"]) for row in rows])
    times = {row["time"] for row in (*ecgs, *echoes, *reports, *more, *measurements)}
    return folder, {one for one in times if one[:2] == "21"}


def _columns(patient: str) -> dict[str, str]:
    """Further columns, as a hospital's own tables have them."""
    return {
        "name": f"{SURNAME}, {GIVEN}",
        "date_of_birth": BIRTHS[0],
        "telephone": TELEPHONE,
        "mrn": patient,
        "site": WARD,
    }


def _patient(number: str) -> str:
    return f"{PATIENT}-{number}"


def _ecgs(source: Path, folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    ecgs, reports = [], []
    said = {row["study_id"]: row["report_0"] for row in read_csv(source / "machine_measurements.csv")}
    for at, row in enumerate(read_csv(source / "record_list.csv")):
        patient, ecg = _patient(row["subject_id"]), f"{ECG}-{row['study_id']}"
        place = folder / SURNAME / f"{BIRTHS[0]}_{ecg}"
        place.mkdir(parents=True)
        found = decode(source / f"{row['path']}.hea")
        steps = np.rint(found.signal[[found.leads.index(lead) for lead in CLINICAL]] / STEP).astype(np.int64)
        path = write_ecg(FORMATS[at % len(FORMATS)], place, steps, patient, row["ecg_time"])
        common = {"patient_id": patient, "time": row["ecg_time"]}
        stated = {"sex": "F", "age": "61", "site": WARD, "device": f"{WARD} cart {at % 3}", "rhythm": ""}
        ecgs.append(common | {"ecg_id": ecg, "path": path.relative_to(folder).as_posix()} | stated)
        reports.append(common | _report(f"{REPORT}-{ecg}", "ECG", ecg, said[row["study_id"]]))
    return ecgs, reports


def _report(name: str, method: str, subject: str, text: str) -> dict[str, str]:
    return {"report_id": name, "method": method, "subject_id": subject, "text": text}


def write_ecg(form: str, place: Path, steps: np.ndarray, patient: str, time: str) -> Path:
    """One ECG, `steps` as ecg_files takes them, with the patient's name, number, birth and date in its header."""
    day = time[:10]
    if form == "wfdb":
        path = write_wfdb(place, steps).with_suffix(".hea")
        first, *rest = path.read_text().splitlines()
        first += f" {time[11:]} {day[8:]}/{day[5:7]}/{day[:4]}"
        remarks = [f"# Name: {SURNAME}, {GIVEN}", f"# {patient} born {BIRTHS[3]}", f"# Phone: {TELEPHONE}"]
        path.write_text("\n".join([first, *rest, *remarks]) + "\n")
        return path.with_suffix("")
    if form == "dicom":
        return name_dicom(write_dicom(place, steps), patient, day)
    if form == "muse":
        who = f"""<PatientDemographics><PatientID>{patient}</PatientID><DateofBirth>{BIRTHS[3]}</DateofBirth>
<PatientLastName>{SURNAME}</PatientLastName><PatientFirstName>{GIVEN}</PatientFirstName></PatientDemographics>
<TestDemographics><AcquisitionDate>{day}</AcquisitionDate><LocationName>{WARD}</LocationName></TestDemographics>"""
        return _insert(write_muse(place, steps), "<RestingECG>", who)
    if form == "philips":
        who = f"""<patient><generalpatientdata><patientid>{patient}</patientid><name><lastname>{SURNAME}</lastname>
<firstname>{GIVEN}</firstname></name><dateofbirth>{BIRTHS[0]}</dateofbirth></generalpatientdata></patient>
<acquirer date="{day}" time="{time[11:]}"><departmentname>{WARD}</departmentname></acquirer>"""
        return _insert(write_philips(place, steps), "</documentinfo>", who, "utf-16")
    if form == "aecg":
        who = f"""<effectiveTime><low value="{day.replace("-", "")}"/></effectiveTime><componentOf><trialSubject>
<id extension="{patient}"/><name>{GIVEN} {SURNAME}</name><birthTime value="{BIRTHS[1]}"/>
</trialSubject></componentOf>"""
        return _insert(write_aecg(place, steps), 'instance">', who)
    if form == "scp":
        texts = {0: SURNAME, 1: GIVEN, 2: patient, 5: BIRTHS[1], 25: day}
        tags = b"".join(struct.pack("<BH", tag, len(text) + 1) + text.encode() + b"\0" for tag, text in texts.items())
        return write_scp(place, steps, patient=tags + struct.pack("<BH", 255, 0))
    path = write_edf(place, steps)
    written = bytearray(path.read_bytes())
    written[8:88] = f"{patient} F {BIRTHS[2]} {SURNAME}_{GIVEN}".ljust(80).encode()
    path.write_bytes(written)
    return path


def _insert(path: Path, after: str, text: str, encoding: str = "utf-8") -> Path:
    before = path.read_text(encoding)
    assert after in before
    path.write_text(before.replace(after, after + text, 1), encoding)
    return path


def name_dicom(path: Path, patient: str, day: str) -> Path:
    """Everything that DICOM has for it, private tags, values that its rules forbid and an unknown alphabet too."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings(action="ignore"):
        dataset = pydicom.dcmread(path)
        dataset.PatientName = dataset.ReferringPhysicianName = f"{SURNAME}^{GIVEN}"
        dataset.PatientID, dataset.PatientBirthDate = patient, BIRTHS[1]
        dataset.PatientTelephoneNumbers, dataset.InstitutionName = TELEPHONE, WARD
        dataset.PatientAge = BIRTHS[0]
        dataset.StudyDate = dataset.AcquisitionDateTime = day.replace("-", "")
        dataset.StudyDescription = dataset.ImageComments = f"{GIVEN} {SURNAME}, born {BIRTHS[4]}"
        dataset.AccessionNumber = f"{STUDY}-{patient}"
        dataset.SpecificCharacterSet = SURNAME
        dataset.private_block(0x0011, f"{SURNAME} GROUP", create=True).add_new(1, "LO", f"{GIVEN} {SURNAME}")
        dataset.save_as(path)
    return path


def _echoes(source: Path, folder: Path) -> tuple[list[dict[str, Any]], ...]:
    echoes, reports, measurements = [], [], []
    study_of = {row["note_id"]: row["study_id"] for row in read_csv(source / "echo-study-list.csv")}
    for row in read_csv(source / "echo-record-list.csv"):
        patient, study = _patient(row["subject_id"]), f"{STUDY}-{row['study_id']}"
        path = folder / SURNAME / f"{GIVEN}_{study}" / Path(row["dicom_filepath"]).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source / row["dicom_filepath"]).read_bytes())
        burn_in(path)
        name_dicom(path, patient, row["acquisition_datetime"][:10])
        common = {"patient_id": patient, "study_id": study, "time": row["acquisition_datetime"]}
        echoes.append(common | {"path": path.relative_to(folder).as_posix()})
    for row in read_csv(source / "echo_notes.csv"):
        study, patient = f"{STUDY}-{study_of[row['note_id']]}", _patient(row["subject_id"])
        report = _report(f"{REPORT}-{row['note_id']}", "ECHO", study, row["text"])
        reports.append({"patient_id": patient, "time": row["charttime"]} | report)
    for row in read_csv(source / "structured_measurement.csv"):
        measurements.append(
            {"patient_id": _patient(row["subject_id"]), "study_id": "", "time": row["measurement_datetime"],
             "measurement": row["measurement"], "value": row["result"], "unit": row["unit"]}
        )  # fmt: skip
    return echoes, reports, measurements


def printed(width: int, height: int) -> np.ndarray:
    """The burned-in line as it looks in a region of this size, uint8, white on black."""
    font, scale, thick = cv2.FONT_HERSHEY_SIMPLEX, 2.0, 4
    (long, tall), below = cv2.getTextSize(PRINTED, font, scale, thick)
    line = np.zeros((tall + below + 8, long + 8), np.uint8)
    cv2.putText(line, PRINTED, (4, tall + 4), font, scale, 255, thick, cv2.LINE_AA)
    return cv2.resize(line, (round(0.38 * width), round(0.12 * height)), interpolation=cv2.INTER_AREA)


def write_on_heart(frame: np.ndarray) -> None:
    """Prints a name across the middle of a picture, uint8 (height, width, 3), in letters that can be read at 120 px."""
    height, width = frame.shape[:2]
    line = printed(2 * width, round(1.3 * height))
    top, left = round(0.5 * height), (width - line.shape[1]) // 2
    place = frame[top : top + line.shape[0], left : left + line.shape[1]]
    np.maximum(place, line[..., None], out=place)


def burn_in(path: Path) -> None:
    """Prints a name on the heart, into the region's corner beside the sector, and below the region, as scanners do."""
    dataset = pydicom.dcmread(path)
    box = dataset.SequenceOfUltrasoundRegions[0]
    left, top, right, bottom = (
        box[f"RegionLocation{one}"].value for one in ("MinX0", "MinY0", "MaxX1", "MaxY1")
    )  # fmt: skip
    line = printed(right - left + 1, bottom - top + 1)
    frames = []
    for data in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        height, width = line.shape
        frame[top : top + height, left : left + width] = line[..., None]
        frame[-height:, :width] = line[..., None]
        write_on_heart(frame[top : bottom + 1, left : right + 1])
        quality = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422]
        frames.append(cv2.imencode(".jpg", frame, quality)[1].tobytes())
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)


def _spoil(folder: Path, *tables: list[dict[str, Any]]) -> None:
    """Files and rows that are refused, each for another reason, and each full of names."""
    ecgs, echoes, measurements = tables
    place = folder / SURNAME / "spoilt"
    place.mkdir()
    name = f"{GIVEN} {SURNAME} {BIRTHS[0]}"
    (place / f"{SURNAME}.txt").write_text(name)
    (place / "half.xml").write_text(f"<RestingECG><PatientDemographics><PatientLastName>{name}")
    (place / "odd.hea").write_text(f"odd 12 500 5000\n{SURNAME}.dat 16 200/mV {name}\n")
    record = write_wfdb(place, np.zeros((12, 5000), np.int64))
    header = record.with_suffix(".hea")
    header.write_text(header.read_text().replace("/mV", f"/{SURNAME}"))
    leads = write_muse(place, np.arange(60_000).reshape(12, 5000) % 500)
    leads.write_text(leads.read_text().replace("<LeadID>V1", f"<LeadID>{SURNAME}"))
    files = [place / name for name in (f"{SURNAME}.txt", "half.xml", "odd", f"{GIVEN}.hea")] + [record, leads]
    paths = [one.relative_to(folder).as_posix() for one in files] + [f"../{SURNAME}", f"/home/{SURNAME}"]
    last = ecgs[-1]
    for at, path in enumerate(paths):
        ecgs.append(last | {"ecg_id": f"{ECG}-spoilt-{at}", "path": path})
    ecgs.append(last | {"ecg_id": f"{ECG}-late", "time": name})
    ecgs[0]["sex"], ecgs[1]["age"], ecgs[2]["rhythm"] = SURNAME, BIRTHS[0], f"{name}, of {WARD}"
    for at, path in enumerate((paths[0], f"/home/{GIVEN}")):
        echoes.append(echoes[-1] | {"study_id": f"{STUDY}-spoilt-{at}", "path": path})
    measurements.append(measurements[-1] | {"value": name})
