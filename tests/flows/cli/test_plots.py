"""`echoingecg plot` as a person types it."""

from pathlib import Path

from PIL import Image
from pydicom.data import get_testdata_file

from helpers.cases.command_line import call


def test_a_page_of_a_dicom_ecg(tmp_path: Path) -> None:
    target = tmp_path / "page.png"
    done = call("plot", str(get_testdata_file("waveform_ecg.dcm")), "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target}\n"
    with Image.open(target) as image:
        assert image.format == "PNG"
        assert image.width > 1000
        assert image.info.keys() <= {"dpi"}


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("no ECG")
    for file in (note, tmp_path / "absent"):
        done = call("plot", str(file), "-o", str(tmp_path / "page.png"))
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
