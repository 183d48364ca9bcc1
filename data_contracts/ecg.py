"""ECG artefact: filtered 12-lead signals in a pool, and the index of those that belong to a version."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from data_contracts.arrays import ArrayContract
from data_contracts.conventions import LEADS, SAMPLES, SIGNAL_UNIT
from data_contracts.quarantine import QUARANTINE
from data_contracts.tables import TableContract, column

CONTRACT_VERSION: Final = 1

# One bit a finding, per lead; 0 means nothing found.
QUALITY_FLAGS: Final[dict[str, int]] = {"flat": 1, "clipped": 2, "nan": 4, "baseline": 8, "amplitude": 16}

KEY: Final = ArrayContract("key", ("record", "byte"), "uint8", "", "SHA-256 of the source file", (("byte", 32),))
SIGNAL: Final = ArrayContract(
    "signal",
    ("record", "lead", "time"),
    "float32",
    SIGNAL_UNIT,
    f"filtered ECG, leads in the order {', '.join(LEADS)}, not standardised",
    (("lead", len(LEADS)), ("time", SAMPLES)),
)
QUALITY: Final = ArrayContract(
    "quality",
    ("record", "lead"),
    "uint8",
    "",
    "bit mask of findings: " + ", ".join(f"{bit} {name}" for name, bit in QUALITY_FLAGS.items()),
    (("lead", len(LEADS)),),
)
DIGEST: Final = ArrayContract(
    "sha256", ("record", "byte"), "uint8", "", "SHA-256 of the record's float32 signal bytes", (("byte", 32),)
)
ARRAYS: Final = (KEY, SIGNAL, QUALITY, DIGEST)


def _checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    return {
        "content_hash": pandera.Check.str_matches(r"^[0-9a-f]{64}$"),
        "flagged_leads": pandera.Check.in_range(0, len(LEADS)),
    }


RECORDS: Final = TableContract(
    "records",
    pa.schema(
        [
            column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
            column("patient_id", pa.string(), "keyed pseudonym of the patient"),
            column("content_hash", pa.string(), "key of the signal in the pool"),
            column("signal_sha256", pa.string(), "SHA-256 of the float32 signal's bytes: proves the content"),
            column("flagged_leads", pa.int8(), "leads with at least one quality finding"),
        ]
    ),
    _checks,
    unique=("record_id",),
)

TABLES: Final = (RECORDS, QUARANTINE)
