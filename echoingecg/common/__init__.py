"""Shared by all steps: errors, files, fingerprints, progress, training setup, the style of figures."""

from data_contracts.conventions import ContractError, UserError
from echoingecg.common.errors import (
    ExportError,
    RecipeError,
    Refusal,
    Stopped,
    StoreError,
    TrainingError,
    result_or_refusal,
)
from echoingecg.common.files import VERSION_LENGTH, canonical_json, fingerprint, flush_to_disk, hash_array, hash_files
from echoingecg.common.files import (
    flush_folder,
    flush_names,
    hexadecimal,
    DICOM_MARK,
    is_dicom,
    key_rows,
    open_regular,
    read_origin,
    replace_atomically,
    save_tensors,
    write_atomically,
    write_json,
    write_origin,
)
from echoingecg.common.running import Progress, no_progress, one_blas_thread, prefetched, silence_libraries
