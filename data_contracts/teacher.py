"""Teacher artefact: frame embeddings in a pool (contiguous ragged array), and one target Gaussian per echo study."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from data_contracts.conventions import ContractError
from data_contracts.quarantine import QUARANTINE
from data_contracts.tables import ArrayContract, TableContract, column

# 1 had no column `sector`; up to 2 the clips held a SHA-256 of their embeddings, by which who held a clip could find
# its row.
CONTRACT_VERSION = 3
POOL_VERSION = 2  # the contract version that last changed an array of the pool

KEY = ArrayContract("key", ("clip", "byte"), "uint8", "", "SHA-256 of the source file", (("byte", 32),))
CLIP_START = ArrayContract("clip_start", ("clip",), "int64", "", "first vector of the clip in `embedding`")
CLIP_FRAMES = ArrayContract("clip_frames", ("clip",), "int64", "", "vectors of the clip: one a frame, or one a window")
EMBEDDING = ArrayContract(
    "embedding", ("frame", "dim"), "float16", "", "unit-length teacher embedding of each frame or window"
)
DIGEST = ArrayContract(
    "sha256", ("clip", "byte"), "uint8", "", "SHA-256 of the clip's float16 embedding bytes", (("byte", 32),)
)
SECTORS = ("none", "sure", "doubtful")  # none: without a mask, or vectors made elsewhere
SECTOR = ArrayContract("sector", ("clip",), "uint8", "", "the clip's sector: index of SECTORS")
TRAINED_ON = "trained_on"  # in `source` of the manifest: whose echoes the teacher learned from, one of ORIGINS

ARRAYS = (KEY, CLIP_START, CLIP_FRAMES, EMBEDDING, DIGEST, SECTOR)

MEAN = ArrayContract("mean", ("study", "dim"), "float32", "", "unit-length mean of the study's vectors")
LOG_VAR = ArrayContract(
    "log_var", ("study", "dim"), "float32", "", "log variance of a vector, by the recipe's estimator"
)
TARGETS = (MEAN, LOG_VAR)
TARGETS_GROUP = "targets.zarr"
CONTACT_SHEET = "contact_sheet.png"  # some clips, black outside the sector; absent where the teacher has no mask


def _checks(check: Any) -> Mapping[str, Any]:
    return {"frames": check.ge(1)}


def _clip_checks(check: Any) -> Mapping[str, Any]:
    return {"frames": check.ge(1), "sector": check.isin(SECTORS)}


CLIPS = TableContract(
    "clips",
    (
        column("clip_id", pa.string(), "keyed pseudonym of the echo file; of the study, for one vector a study"),
        column("study_id", pa.string(), "keyed pseudonym of the echo study"),
        column("content_hash", pa.string(), "key of the embeddings in the pool"),
        column("frames", pa.int32(), "vectors: embedded frames, or windows of a video teacher"),
        column("sector", pa.string(), "none (no mask), sure, or doubtful: to be looked at"),
    ),
    _clip_checks,
    unique=("clip_id",),
)

STUDIES = TableContract(
    "studies",
    (
        column("study_id", pa.string(), "row i of the targets belongs to row i of this table"),
        column("patient_id", pa.string(), "keyed pseudonym of the patient"),
        column("clips", pa.int32(), "clips that entered the target"),
        column("frames", pa.int32(), "vectors that entered the target"),
    ),
    _checks,
    unique=("study_id",),
)

TABLES = (CLIPS, STUDIES, QUARANTINE)

_DIGEST = column("embedding_sha256", pa.string(), "SHA-256 of the float16 embeddings' bytes")
*_BEFORE, _SECTOR = CLIPS.columns
_BY_VERSION = {
    1: TableContract(CLIPS.name, (*_BEFORE, _DIGEST), _checks, unique=CLIPS.unique),
    2: TableContract(CLIPS.name, (*_BEFORE, _DIGEST, _SECTOR), _clip_checks, unique=CLIPS.unique),
    CONTRACT_VERSION: CLIPS,
}


def clips_contract(contract_version: int) -> TableContract:
    """Returns the contract of the table `clips` in one contract version; version 1 has no column `sector`.

    Raises:
        ContractError: this release does not know the version.
    """
    if contract_version not in _BY_VERSION:
        raise ContractError(f"teacher contract version {contract_version}: this release reads 1 to {CONTRACT_VERSION}")
    return _BY_VERSION[contract_version]
