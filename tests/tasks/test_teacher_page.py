"""The look at the teacher's clips: kept with the artefact, shown in the report; and `echoingecg echo`."""

import base64
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file

from data_contracts.catalog import ECHOES, MEASUREMENTS
from data_contracts.teacher import CLIPS, CONTACT_SHEET
from helpers.cases.command_line import call
from helpers.cases.republished import republish
from helpers.cases.stage_runs import Run
from tasks.teacher import contact_sheet, embedding_map, write_sheet


def test_the_report_holds_both_pictures(finished: Run) -> None:
    teacher = finished.artefacts["teacher"]
    report = (finished.artefacts["evaluation"].folder / "report.html").read_text()
    for picture in (contact_sheet(teacher), embedding_map(finished.job.workspace, teacher)):
        assert picture is not None
        assert base64.b64encode(picture).decode() in report


def test_the_sheet_is_part_of_the_artefact(finished: Run) -> None:
    teacher = finished.artefacts["teacher"]
    assert CONTACT_SHEET in teacher.manifest.files
    sheet = contact_sheet(teacher)
    assert sheet is not None
    with Image.open(io.BytesIO(sheet)) as image:
        assert image.format == "PNG"
        assert not image.info


def test_a_teacher_without_a_mask_keeps_no_pictures(finished: Run, tmp_path: Path) -> None:
    job = finished.job
    clips = CLIPS.read(finished.artefacts["teacher"].folder).to_pylist()
    listed = ECHOES.read(finished.artefacts["catalog"].folder)
    settings = job.recipe.teacher.model_copy(update={"mask": False})
    write_sheet(replace(job, recipe=job.recipe.model_copy(update={"teacher": settings})), clips, listed, tmp_path)
    assert not list(tmp_path.iterdir())
    write_sheet(job, clips, listed, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CONTACT_SHEET]


def test_the_map_takes_another_measurement_where_there_is_no_lvef(copied: Run) -> None:
    catalog, teacher = copied.artefacts["catalog"], copied.artefacts["teacher"]
    folder = copied.job.workspace.artefacts / "catalog" / catalog.version
    table = MEASUREMENTS.read(folder)
    with_lvef = embedding_map(copied.job.workspace, teacher)
    MEASUREMENTS.write(table.filter(np.array(table["measurement"]) != "lvef"), folder)
    republish(folder)
    shutil.rmtree(copied.job.workspace.private / "hours")  # of the rows as they were
    without = embedding_map(copied.job.workspace, teacher)
    assert without is not None
    assert without != with_lvef


def test_a_sheet_of_one_file(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    done = call("echo", str(get_testdata_file("examples_ybr_color.dcm")), "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target}\n"
    with Image.open(target) as image:
        assert image.size == (928, 464)


def test_a_file_without_a_clip_is_one_line(tmp_path: Path) -> None:
    for file in (str(get_testdata_file("waveform_ecg.dcm")), str(tmp_path / "absent")):
        done = call("echo", file, "-o", str(tmp_path / "sheet.png"))
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
