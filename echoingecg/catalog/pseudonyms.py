"""Keyed pseudonyms: whoever lacks the key can neither compute nor confirm one."""

import hmac

_DIGITS = 16  # hexadecimal: 64 bits, no collision before billions of identifiers


class Pseudonyms:
    """HMAC-SHA256 (RFC 2104), shortened, with a prefix that tells what it stands for.

    An ECG, a study or a report is named together with its patient: hospitals number them per patient too,
    and a row that mixes two patients up then finds no partner.

    Args:
        key: secret of the workspace, or a public one for data that is public already.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def patient(self, raw: str) -> str:
        """`p-...` for a patient identifier."""
        return self._name("p", raw)

    def record(self, patient: str, raw: str) -> str:
        """`e-...` for an ECG of the patient."""
        return self._name("e", patient, raw)

    def clip(self, patient: str, raw: str) -> str:
        """`c-...` for an echo file of the patient."""
        return self._name("c", patient, raw)

    def study(self, patient: str, raw: str) -> str:
        """`s-...` for an echo study of the patient."""
        return self._name("s", patient, raw)

    def report(self, patient: str, *raw: str) -> str:
        """`r-...` for a report on the patient."""
        return self._name("r", patient, *raw)

    def site(self, raw: str) -> str:
        """`site-...` for a place where ECGs are recorded."""
        return self._name("site", raw)

    def device(self, raw: str) -> str:
        """`dev-...` for an ECG device."""
        return self._name("dev", raw)

    def source(self, *raw: str) -> str:
        """`src-...` for a file (kind, path) or a row (table, number) of the export."""
        return self._name("src", *raw)

    def _name(self, prefix: str, *raw: str) -> str:
        # Lengths keep ("a", "bc") and ("ab", "c") apart.
        message = "\0".join((prefix, *(f"{len(one)}:{one}" for one in raw)))
        return f"{prefix}-{hmac.digest(self._key, message.encode(), 'sha256').hex()[:_DIGITS]}"
