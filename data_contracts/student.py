"""Student artefact: weights (safetensors), architecture, scaler, tokenizer and training history; no pickle."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from data_contracts.conventions import LEADS, ContractError
from data_contracts.tables import TableContract, column

CONTRACT_VERSION = 1

WEIGHTS = "model.safetensors"
# {"student": recipe section, "text_config": transformers configuration, "encoder": of another ECG encoder, its sizes}
ARCHITECTURE = "architecture.json"
SCALER = "scaler.json"  # {"leads": [...], "mean": [...], "scale": [...]}, mV
TOKENIZER = "tokenizer.json"  # Hugging Face `tokenizers` format


def _checks(check: Any) -> Mapping[str, Any]:
    return {"epoch": check.ge(0), "steps": check.ge(0)}


HISTORY = TableContract(
    "history",
    (
        column("epoch", pa.int32(), "epoch, 0 is before training"),
        column("steps", pa.int64(), "optimiser steps so far"),
        column("learning_rate", pa.float64(), "at the end of the epoch"),
        column("train_loss_ecg_echo", pa.float64(), "mean over the epoch's batches", optional=True),
        column("train_loss_ecg_text", pa.float64(), "mean over the epoch's batches", optional=True),
        column("validation_loss_ecg_echo", pa.float64(), "mean over validation batches", optional=True),
        column("validation_loss_ecg_text", pa.float64(), "mean over validation batches", optional=True),
        column(
            "recall_at_5_ecg_to_echo",
            pa.float64(),
            "share of ECGs whose study is among the nearest 5",
            optional=True,
        ),
        column(
            "recall_at_5_echo_to_ecg",
            pa.float64(),
            "share of studies one of whose ECGs is among the nearest 5",
            optional=True,
        ),
        column("best", pa.bool_(), "whether these weights were the best so far"),
    ),
    _checks,
    unique=("epoch",),
)

TABLES = (HISTORY,)


def check_scaler(scaler: Mapping[str, Any]) -> None:
    """Raises ContractError if the scaler does not have the 12 leads, 12 means and 12 positive scales (mV)."""
    if list(scaler.get("leads", ())) != list(LEADS):
        raise ContractError(f"scaler: leads {scaler.get('leads')}, expected {list(LEADS)}")
    if len(scaler.get("mean", ())) != len(LEADS) or len(scaler.get("scale", ())) != len(LEADS):
        raise ContractError("scaler: needs one mean and one scale a lead")
    if not all(value > 0 for value in scaler["scale"]):
        raise ContractError("scaler: a scale is not positive")
