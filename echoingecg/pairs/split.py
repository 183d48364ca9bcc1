"""The split of patients by a keyed hash: a patient never changes sides when an export grows."""

import hmac

from data_contracts.conventions import Split
from echoingecg.recipe.stages import SplitShares

_DIGEST_BYTES = 8  # 2**64 positions on the line from 0 to 1


def assign_split(patient_id: str, key: str, shares: SplitShares) -> Split:
    """Returns the side of the split that a patient is on. It depends only on the arguments.

    HMAC-SHA256(key, patient_id) is a uniform number in [0, 1); the shares of train, validation and
    test divide that line in this order.

    Args:
        patient_id: pseudonym of the patient.
        key: key of the hash; another key gives an independent split.
        shares: shares of the sides; they sum to 1.
    """
    digest = hmac.digest(key.encode(), patient_id.encode(), "sha256")
    position = int.from_bytes(digest[:_DIGEST_BYTES], "big") / 2 ** (8 * _DIGEST_BYTES)
    if position < shares.train:
        return "train"
    return "validation" if position < 1 - shares.test else "test"
