"""Keyed pseudonyms: nobody can compute or confirm one without the key."""

import hmac

_HEX_DIGITS = 16  # 64 bits: no collision expected before billions of identifiers


class Pseudonyms:
    """Makes pseudonyms: a shortened HMAC-SHA256 (RFC 2104) with a prefix that tells what it stands for.

    The pseudonym of an ECG, study or report also depends on its patient: some hospitals number them per patient, and
    a row that confuses two patients then matches nothing.

    Args:
        key: secret key of the workspace, or a public key for data that is already public.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def patient(self, raw: str) -> str:
        """Returns `p-...` for a patient."""
        return self._pseudonym("p", raw)

    def record(self, patient: str, raw: str) -> str:
        """Returns `e-...` for an ECG of the patient."""
        return self._pseudonym("e", patient, raw)

    def clip(self, patient: str, raw: str) -> str:
        """Returns `c-...` for an echo file of the patient."""
        return self._pseudonym("c", patient, raw)

    def study(self, patient: str, raw: str) -> str:
        """Returns `s-...` for an echo study of the patient."""
        return self._pseudonym("s", patient, raw)

    def exam(self, patient: str, raw: str) -> str:
        """Returns `x-...` for an exam in which a patient was measured."""
        return self._pseudonym("x", patient, raw)

    def report(self, patient: str, *raw: str) -> str:
        """Returns `r-...` for a report on the patient."""
        return self._pseudonym("r", patient, *raw)

    def site(self, raw: str) -> str:
        """Returns `site-...` for a place where ECGs are recorded."""
        return self._pseudonym("site", raw)

    def device(self, raw: str) -> str:
        """Returns `dev-...` for an ECG device."""
        return self._pseudonym("dev", raw)

    def source(self, *raw: str) -> str:
        """Returns `src-...` for a file (kind, path) or a row (table, number) of the export."""
        return self._pseudonym("src", *raw)

    def _pseudonym(self, prefix: str, *raw: str) -> str:
        # The lengths distinguish ("a", "bc") from ("ab", "c").
        message = "\0".join((prefix, *(f"{len(value)}:{value}" for value in raw)))
        return f"{prefix}-{hmac.digest(self._key, message.encode(), 'sha256').hex()[:_HEX_DIGITS]}"
