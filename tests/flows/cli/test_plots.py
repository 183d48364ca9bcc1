"""`echoingecg plot` as a person types it."""

from pathlib import Path

import defusedxml.ElementTree
import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from helpers.cases.command_line import call
from helpers.ecg.ecg_files import ecg_steps, write_wfdb
from helpers.ecg.wfdb_files import CLINICAL


def test_a_page_of_a_dicom_ecg(tmp_path: Path) -> None:
    target = tmp_path / "page.png"
    done = call("plot", str(get_testdata_file("waveform_ecg.dcm")), "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{target}\n"
    with Image.open(target) as image:
        assert image.format == "PNG"
        assert image.width > 1000
        assert image.info.keys() <= {"dpi"}


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_a_page_to_print_or_to_scale_is_the_same_again(tmp_path: Path, kind: str) -> None:
    target, file = tmp_path / f"page.{kind}", str(get_testdata_file("waveform_ecg.dcm"))
    assert call("plot", file, "-o", str(target)).returncode == 0
    first = target.read_bytes()
    assert call("plot", file, "-o", str(target)).returncode == 0, "its own kind is replaced"
    assert target.read_bytes() == first
    if kind == "svg":
        assert defusedxml.ElementTree.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"
    else:
        assert first.startswith(b"%PDF-1.")
        assert b"CreationDate" not in first
    refused = call("plot", file, "-o", str(tmp_path / "page.gif"))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("no ECG")
    for file in (note, tmp_path / "absent"):
        done = call("plot", str(file), "-o", str(tmp_path / "page.png"))
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_array_is_drawn_as_stated(tmp_path: Path) -> None:
    """An array with its leads, unit and rate stated gives the source file's picture, and is refused without them."""
    file, steps = tmp_path / "ecg.npy", ecg_steps()
    np.save(file, steps)
    stated = ("--unit", "5 uV", "--sampling-frequency", "500", "--leads", ",".join(CLINICAL))
    for arguments, word in [((), "leads"), (stated[4:], "frequency"), (stated[2:], "unit"), (stated, "")]:
        done = call("plot", str(file), "-o", str(tmp_path / "page.png"), *arguments)
        assert (done.returncode == 0) == (not word), done.stderr
        assert word in done.stderr
    other = call("plot", str(write_wfdb(tmp_path, steps)), "-o", str(tmp_path / "other.png"))
    assert other.returncode == 0, other.stderr
    with Image.open(tmp_path / "page.png") as page, Image.open(tmp_path / "other.png") as expected:
        head = 60  # the format's name stands in the heading
        assert page.crop((0, head, *page.size)).tobytes() == expected.crop((0, head, *page.size)).tobytes()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--leads", "A,B"), "--leads"), (("--leads", "I,I"), "--leads"), (("--unit", "furlong"), "unit")],
)
def test_what_is_stated_wrongly_is_one_line(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    np.save(tmp_path / "ecg.npy", ecg_steps())
    done = call("plot", str(tmp_path / "ecg.npy"), *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert word in done.stderr
