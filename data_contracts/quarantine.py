"""The quarantine table, in which each stage publishes what it refused and why."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from data_contracts.tables import TableContract, column

STOPPED = "stopped"
WITHDRAWN = "withdrawn"
# A closed list: the codes are counted, plotted and compared between exports.
REASONS: dict[str, str] = {
    "missing_file": "the export lists the file but does not hold it",
    "outside_export": "the listed path leaves the export's folder",
    "bad_row": "a row of the export's tables lacks a needed value or holds an impossible one",
    "free_text": "results in words that are long or that few patients share, so that they could name a person",
    WITHDRAWN: "rows of patients who have withdrawn their consent (`echoingecg forget`), all together",
    "duplicate": "the same content is already listed for another patient",
    "unknown_format": "the content is of no format this stage reads",
    "unreadable": "the file cannot be parsed",
    "truncated": "the file holds fewer bytes than its header promises",
    "missing_units": "the amplitude unit is not stated",
    "unknown_units": "the amplitude unit is stated but not one of volts",
    "missing_sampling_frequency": "the sampling frequency is not stated or not positive",
    "missing_leads": "leads are absent, repeated or unnamed, and what is there is no set that the recipe admits",
    "too_short": "the recording is shorter than the recipe allows",
    "nan": "the share of missing samples in a lead is over the recipe's limit",
    "implausible": "amplitudes are outside what an ECG can be",
    "poor_quality": "the recipe refuses recordings with such a quality finding",
    "not_a_cine": "a still, a strip, an M-mode or another image without moving frames",
    "no_frame_rate": "the clip does not state its frames a second, by which the recipe takes them",
    "unwanted_view": "the recipe leaves out clips of this view or mode",
    "no_pixel_data": "the DICOM file holds no image",
    "no_region": "no two-dimensional ultrasound region is stated, nor a sure sector to be seen",
    "stale_region": "the stated ultrasound region reaches beyond the picture, so it belongs to another one",
    "no_sector": "nothing in the picture moves as an ultrasound sector does, so text beside it cannot be masked",
    "unsupported_pixels": "the pixel encoding or colour space is not one this stage reads",
    "no_embedding": "the teacher's table of embeddings holds no vector of the clip or of its study",
    STOPPED: "decoding crashed, or took more time or memory than the recipe allows; tried again when the stage runs",
    "no_match": "no partner within the recipe's window",
}


def _checks(check: Any) -> Mapping[str, Any]:
    return {"reason": check.isin(sorted(REASONS))}


QUARANTINE = TableContract(
    "quarantine",
    (
        column("source_id", pa.string(), "pseudonym of the refused file's path or of the table row"),
        column("reason", pa.string(), "reason code, one of data_contracts.quarantine.REASONS"),
        column("detail", pa.string(), "what was found; never a path, a name or an identifier"),
    ),
    _checks,
    unique=("source_id",),
)
