"""Lists a folder of ECG files that has no table: ecgs.csv and reports.csv of the layout `generic`."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from echoingecg.common import Progress, Refusal, UserError, no_progress
from echoingecg.common.files import replace_atomically
from echoingecg.ecg.file_header import EcgHeader, read_header

ECGS, REPORTS, REFUSED = "ecgs.csv", "reports.csv", "refused_ecgs.csv"
_COLUMNS = {
    ECGS: ("patient_id", "ecg_id", "time", "path", "sex", "age"),
    REPORTS: ("patient_id", "report_id", "method", "subject_id", "time", "text"),
    REFUSED: ("path", "reason", "detail"),
}
_OWN = {*_COLUMNS, "echoes.csv", "measurements.csv"}  # tables of the layout, which are no ECGs
_FILES_PER_REPORT = 100
_PRIVATE = 0o600


@dataclass
class EcgList:
    """The rows of the tables, by the table's name."""

    rows: dict[str, list[tuple[str, ...]]] = field(default_factory=lambda: {name: [] for name in _COLUMNS})

    @property
    def patients(self) -> int:
        """Number of different patients."""
        return len({row[0] for row in self.rows[ECGS]})


def list_ecgs(folder: Path, progress: Progress = no_progress) -> EcgList:
    """Reads what each file of a folder and its subfolders states beside its signal. Links are not followed.

    Args:
        folder: with the files.
        progress: called with files done and in all.

    Raises:
        UserError: there is no such folder, or no file in it.
        OSError: a file cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    paths = sorted(_files(folder))
    if not paths:
        raise UserError(f"{folder}: holds no file")
    listed = EcgList()
    for done, path in enumerate(paths, start=1):
        try:
            _add(listed, path, read_header(folder / path))
        except Refusal as refusal:
            listed.rows[REFUSED].append((path, refusal.reason, refusal.detail))
        if done % _FILES_PER_REPORT == 0 or done == len(paths):
            progress(done, len(paths))
    return listed


def _files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if not name.startswith(".") and relative not in _OWN and not path.is_symlink():
                yield relative


def _add(listed: EcgList, path: str, header: EcgHeader) -> None:
    time = f"{header.time:%Y-%m-%d %H:%M:%S}"
    age = "" if header.age is None else str(header.age)
    listed.rows[ECGS].append((header.patient, path, time, path, header.sex, age))
    if header.statements:
        text = " ".join(f"{line.rstrip('.')}." for line in header.statements)
        listed.rows[REPORTS].append((header.patient, path, "ECG", path, time, text))


def write_list(listed: EcgList, folder: Path, reports: bool, replace: bool) -> None:
    """Writes the tables into the folder, readable by their owner alone: they name patients.

    Args:
        listed: as `list_ecgs` returns it.
        folder: that was listed.
        reports: whether to write the statements as reports. They may name who confirmed them.
        replace: whether tables that are there are replaced.

    Raises:
        UserError: a table is there and `replace` is False, or no file could be listed.
    """
    names = [name for name in _COLUMNS if listed.rows[name] and (reports or name != REPORTS)]
    if not listed.rows[ECGS]:
        reason = listed.rows[REFUSED][0][1:]
        raise UserError(
            f"{folder}: none of {len(listed.rows[REFUSED])} files can be listed; the first: {': '.join(reason)}"
        )
    if not replace and (there := [name for name in names if (folder / name).exists()]):
        raise UserError(f"{folder / there[0]} is there already: --replace writes it anew")
    for name in names:
        _write(folder / name, _COLUMNS[name], listed.rows[name])


def _write(path: Path, columns: Sequence[str], rows: list[tuple[str, ...]]) -> None:
    with replace_atomically(path, _PRIVATE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
