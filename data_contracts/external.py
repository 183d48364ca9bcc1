"""Embeddings of another model: what a user hands in (evaluation.external), not a file of an artefact."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from data_contracts.tables import TableContract, column


def _external_checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    return {"content_hash": pandera.Check.str_matches(r"^[0-9a-f]{64}$")}


EXTERNAL: Final = TableContract(
    "external",
    pa.schema(
        [
            column("content_hash", pa.string(), "as in ecg.RECORDS: SHA-256 of the ECG file, or ecg.window_key of it"),
            column("embedding", pa.list_(pa.float32()), "of another model, the same length in every row"),
        ]
    ),
    _external_checks,
    unique=("content_hash",),
)
