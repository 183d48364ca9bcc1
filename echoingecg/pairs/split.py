"""The patient split: a keyed hash, so that a patient never changes side when exports grow."""

import hmac

from data_contracts.conventions import Split
from echoingecg.recipe.stages import SplitShares

_BYTES = 8  # of the digest: 2**64 places on the line from 0 to 1


def assign_split(patient_id: str, key: str, shares: SplitShares) -> Split:
    """The side of a patient; depends on nothing but the arguments.

    HMAC-SHA256(key, patient_id) is a uniform number in [0, 1); the shares of train, validation and test
    divide that line in this order.

    Args:
        patient_id: pseudonym of the patient.
        key: key of the hash; another key gives another, independent split.
        shares: sum to 1.
    """
    digest = hmac.digest(key.encode(), patient_id.encode(), "sha256")
    place = int.from_bytes(digest[:_BYTES], "big") / 2 ** (8 * _BYTES)
    if place < shares.train:
        return "train"
    return "validation" if place < 1 - shares.test else "test"
