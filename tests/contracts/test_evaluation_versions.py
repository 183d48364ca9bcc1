"""Evaluation artefacts of contract version 1 stay readable."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.evaluation import METRICS, PREDICTIONS

TEXT, NUMBER, COUNT = pa.string(), pa.float64(), pa.int64()
# As version 1 wrote them, without descriptions.
PREDICTIONS_1 = [
    ("endpoint", TEXT, "LVEF < 40 %"), ("protocol", TEXT, "linear_probe"), ("record_id", TEXT, "e-1"),
    ("patient_id", TEXT, "p-1"), ("split", TEXT, "test"), ("label", pa.int8(), 1), ("score", NUMBER, 0.7),
    ("decision", pa.int8(), 1), ("uncertainty", NUMBER, -4.0),
]  # fmt: skip
METRICS_1 = [
    ("endpoint", TEXT, "LVEF < 40 %"), ("protocol", TEXT, "zero_shot"), ("group", TEXT, "all"),
    ("metric", TEXT, "auroc"), ("value", NUMBER, 0.8), ("low", NUMBER, None), ("high", NUMBER, None),
    ("patients", COUNT, 1), ("records", COUNT, 1), ("positives", COUNT, 1),
]  # fmt: skip


def test_tables_of_version_1_are_read(tmp_path: Path) -> None:
    for contract, columns in ((PREDICTIONS, PREDICTIONS_1), (METRICS, METRICS_1)):
        schema = pa.schema([pa.field(name, kind, name in ("low", "high", "value")) for name, kind, _ in columns])
        table = pa.Table.from_pylist([{name: value for name, _, value in columns}], schema)
        pq.write_table(table, tmp_path / contract.filename)
        assert contract.read(tmp_path).to_pylist() == table.to_pylist()
