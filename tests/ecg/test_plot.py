"""The page: to scale, the same bytes for the same ECG, and what its caption says."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_contracts.conventions import LEADS
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common import Refusal
from echoingecg.ecg.plot import Page, draw, findings_text, pages_of_file
from echoingecg.recipe import EcgSettings
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.ecg.wfdb_files import CLINICAL, write_record


def pixels(png: bytes) -> np.ndarray:
    """uint8 (height, width), 0 where ink is darkest."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"))


def test_ten_millimetres_a_millivolt() -> None:
    """A lead of +1 mV is drawn 10 mm above one of 0; 254 dpi are 10 pixels a millimetre."""
    heights = []
    for level in (0.0, 1.0):
        dark = pixels(draw([Page(np.full((12, 1000), level), 100.0, "")], dpi=254)) < 90
        column = dark[-300:-60, 1500]  # the rhythm strip, far from pulses and names
        heights.append(np.flatnonzero(column).mean())
    assert heights[0] - heights[1] == pytest.approx(100, abs=1.5)


def test_before_and_after(tmp_path: Path) -> None:
    stored = twelve_leads()
    stored[LEADS.index("V4")] += 0.2 * np.sin(2 * np.pi * 50 * np.arange(5000) / 500)
    record = write_record(tmp_path / "rec", np.round(stored.T[:, [LEADS.index(lead) for lead in CLINICAL]], 3))
    before, after = pages_of_file(record, EcgSettings())
    assert before.heading == "As recorded, level removed: WFDB, 500 Hz, 10.0 s"
    assert after.heading == "Filtered 0.5 to 40 Hz, 100 Hz: 75/min"
    assert after.note == "mains: V4"
    png = draw([before, after])
    assert draw(pages_of_file(record, EcgSettings())) == png
    assert pixels(png).shape[0] == pytest.approx(2 * pixels(draw([after])).shape[0], abs=2)


def test_what_the_caption_says() -> None:
    quality = np.zeros(12, np.uint16)
    assert findings_text(quality, 0) == "nothing found"
    quality[[0, 2]] = QUALITY_FLAGS["flat"]
    quality[2] |= QUALITY_FLAGS["nan"]
    assert findings_text(quality, RECORD_FLAGS["limb_leads"]) == "limb_leads; flat: I, III; nan: III"


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no ECG")
    with pytest.raises(Refusal):
        pages_of_file(tmp_path / "note.txt", EcgSettings())
