"""Which files a person means: files, WFDB records by name, and whole folders."""

import os
from collections.abc import Iterable, Iterator

from echoingecg.common.errors import UserError
from echoingecg.ecg.wfdb_header import SUFFIX


def list_ecgs(names: Iterable[str]) -> list[str]:
    """Files to read, each once, in the order named; those of a folder by name, its subfolders after its files.

    Of a WFDB record in a folder the header stands for all its files; hidden files are passed over. Everything else
    is listed, since formats are told by content: what is no ECG will be refused.

    Args:
        names: files, WFDB records with or without `.hea`, and folders.

    Raises:
        UserError: a folder cannot be listed, or nothing is left.
    """
    found = dict.fromkeys(file for name in names for file in (_inside(name) if os.path.isdir(name) else [name]))  # noqa: PTH112
    if not found:
        raise UserError("no file to read: name ECG files, or folders that hold some")
    return list(found)


def _inside(folder: str) -> Iterator[str]:
    """Strings, not Paths: a folder may hold a million."""

    def fail(fault: OSError) -> None:
        raise UserError(f"{fault.filename}: cannot be listed: {fault.strerror}") from fault

    for place, subfolders, files in os.walk(folder, onerror=fail):
        subfolders[:] = sorted(one for one in subfolders if not one.startswith("."))
        records = {one.removesuffix(SUFFIX) for one in files if one.endswith(SUFFIX)}
        for one in sorted(files):
            if not one.startswith(".") and (one.endswith(SUFFIX) or one.partition(".")[0] not in records):
                yield os.path.join(place, one)  # noqa: PTH118
