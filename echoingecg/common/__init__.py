"""Shared small tools: errors, files and fingerprints, work that runs beside, random states, the look of figures."""

from echoingecg.common.errors import ContractError, ExportError, RecipeError, Refusal, StoreError, TrainingError
from echoingecg.common.errors import UserError, outcome_of
from echoingecg.common.files import VERSION_LENGTH, canonical_json, fingerprint, hash_array, hash_files
from echoingecg.common.files import replacing, save_tensors, to_disk, write_whole
from echoingecg.common.running import Progress, prefetched, silent, unquoted
