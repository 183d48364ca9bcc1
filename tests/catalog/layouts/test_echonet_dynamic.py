"""EchoNet-Dynamic's layout: an echo-only export of AVI files, through the catalog and before the teacher."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from echoingecg.catalog.build import build
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.recipe import CatalogSettings, TeacherSettings
from echoingecg.teacher.frames import read_clip
from helpers.cases.hospital import KEY, write_csv

ROW = {
    "FileName": "0X100009310A3BD7FC", "EF": "78.49840587", "ESV": "14.8813682", "EDV": "69.2105319",
    "FrameHeight": "112", "FrameWidth": "112", "FPS": "50", "NumberOfFrames": "12", "Split": "VAL",
}  # fmt: skip


def write_video(path: Path, seed: int) -> None:
    """Motion JPEG of 112 px, as the published videos are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50.0, (112, 112))
    for frame in np.random.default_rng(seed).integers(0, 256, (12, 14, 14, 3), dtype=np.uint8):
        writer.write(cv2.resize(frame, (112, 112)))
    writer.release()


@pytest.mark.parametrize("folder", ["", "EchoNet-Dynamic"])
def test_a_video_and_its_measurements(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    write_video(root / "Videos/0X100009310A3BD7FC.avi", 1)
    write_video(root / "Videos/0XB.avi", 2)
    others = [{**ROW, "FileName": "0XB.avi", "EF": "", "ESV": "n/a"}, {**ROW, "FileName": "0XC"}]
    write_csv(root / "FileList.csv", [ROW, *others])
    seen = scan(tmp_path, CatalogSettings(), KEY)
    assert seen.layout.name == "echonet-dynamic"
    tables, names = build(seen, KEY), Pseudonyms(KEY)

    echoes = {row["patient_id"]: row for row in tables["echoes"].to_pylist()}
    assert set(echoes) == {names.patient("0X100009310A3BD7FC"), names.patient("0XB")}
    first = echoes[names.patient("0X100009310A3BD7FC")]
    assert first["hours"] == 0
    assert first["study_id"] == names.study("0X100009310A3BD7FC", "0X100009310A3BD7FC")
    assert tables["ecgs"].num_rows == tables["reports"].num_rows == 0

    stated = [row for row in tables["measurements"].to_pylist() if row["study_id"] == first["study_id"]]
    assert {(row["measurement"], row["value"], row["unit"]) for row in stated} == {
        ("lvef", 78.49840587, "%"),
        ("lv_end_systolic_volume", 14.8813682, "mL"),
        ("lv_end_diastolic_volume", 69.2105319, "mL"),
        ("split", None, ""),
    }
    assert {row["words"] for row in stated} == {None, "validation"}, "VAL, in the words of other layouts"
    reasons = sorted((row["reason"], row["detail"]) for row in tables["quarantine"].to_pylist())
    assert reasons == [("bad_row", "the value is not a number"), ("missing_file", "the listed file is not there")]

    frames = read_clip(root / "Videos/0X100009310A3BD7FC.avi", TeacherSettings(frame_stride=2), 112)
    assert frames.shape == (6, 112, 112, 3)
