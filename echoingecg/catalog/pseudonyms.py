"""Keyed pseudonyms: nobody can compute or confirm one without the key."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_HEX_DIGITS = 16  # 64 bits: no collision expected before billions of identifiers
_SOURCE = "src"
_LABEL_END = "//"  # no normalised path holds it


def labelled(label: str, name: str) -> str:
    """Names a file or row of one of several exports; the name alone without a label."""
    return f"{label}{_LABEL_END}{name}" if label else name


class Pseudonyms:
    """Makes pseudonyms: a shortened HMAC-SHA256 (RFC 2104) with a prefix that tells what it stands for.

    The pseudonym of an ECG, study or report also depends on its patient: some hospitals number them per patient, and
    a row that confuses two patients then matches nothing.

    Args:
        key: secret key of the workspace, or a public key for data that is already public.
        label: of the export whose files are named, where there are several.
    """

    def __init__(self, key: bytes, label: str = "") -> None:
        self._key, self._label = key, label

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

    def content(self, digest: str) -> str:
        """Returns the key under which results for a file are kept, 64 hexadecimal digits: HMAC-SHA256, not shortened.

        Whoever holds the file can compute its digest, but not this.

        Args:
            digest: SHA-256 of the file's content, in hexadecimal digits.
        """
        return hmac.digest(self._key, f"content\0{digest}".encode(), "sha256").hex()

    def site(self, raw: str) -> str:
        """Returns `site-...` for a place where ECGs are recorded."""
        return self._pseudonym("site", raw)

    def device(self, raw: str) -> str:
        """Returns `dev-...` for an ECG device."""
        return self._pseudonym("dev", raw)

    def source(self, *raw: str) -> str:
        """Returns `src-...` for a file (kind, path) or a row (table, number) of the export."""
        *kind, name = raw
        return self._pseudonym(_SOURCE, *kind, labelled(self._label, name))

    def _pseudonym(self, prefix: str, *raw: str) -> str:
        # The lengths distinguish ("a", "bc") from ("ab", "c").
        message = "\0".join((prefix, *(f"{len(value)}:{value}" for value in raw)))
        return f"{prefix}-{hmac.digest(self._key, message.encode(), 'sha256').hex()[:_HEX_DIGITS]}"


@dataclass(frozen=True)
class Withdrawn:
    """Patients who have withdrawn their consent, known by pseudonyms alone: their rows are left out of every catalog.

    Attributes:
        key: secret key of the workspace, whatever key the recipe has.
        names: their pseudonyms under that key.
    """

    key: bytes = b""
    names: frozenset[str] = frozenset()

    def among(self, patients: Iterable[str]) -> dict[str, str]:
        """Returns those of the patients who have withdrawn: the hospital's number, with its site -> pseudonym."""
        if not self.names:
            return {}
        make = Pseudonyms(self.key).patient
        return {raw: name for raw in patients if (name := make(raw)) in self.names}


NOBODY = Withdrawn()


def source_numbers(source_ids: Iterable[str]) -> np.ndarray:
    """Returns the 64 bits of each pseudonym of a source, (n,) uint64; their order is that of the pseudonyms."""
    return np.fromiter((int(source_id[len(_SOURCE) + 1 :], 16) for source_id in source_ids), np.uint64)


def source_ids(numbers: np.ndarray) -> pa.Array:
    """Returns the pseudonyms of sources whose bits are given: pa.string(), n values."""
    prefix = np.frombuffer(f"{_SOURCE}-".encode(), np.uint8)
    digits = np.frombuffer(numbers.astype(">u8").tobytes().hex().encode(), np.uint8).reshape(-1, _HEX_DIGITS)
    letters = np.empty((len(numbers), len(prefix) + _HEX_DIGITS), np.uint8)
    letters[:, : len(prefix)], letters[:, len(prefix) :] = prefix, digits
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * letters.shape[1]
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(letters.ravel()))
