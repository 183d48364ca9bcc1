"""Files replaced whole, and SHA-256 of files, arrays and values, against hashlib and plain reading."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from echoingecg.common import (
    fingerprint,
    hash_array,
    hash_files,
    hexadecimal,
    is_dicom,
    key_rows,
    replace_atomically,
    save_tensors,
    write_atomically,
    write_json,
)


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask of 020 for one test."""
    before = os.umask(0o020)
    yield
    os.umask(before)


def test_a_hash_is_that_of_all_bytes_in_their_order(tmp_path: Path) -> None:
    content = [np.random.default_rng(seed).bytes(size) for seed, size in enumerate((3_000_001, 0, 7))]
    paths = [tmp_path / f"{at}" for at in range(3)]
    for path, part in zip(paths, content, strict=True):
        path.write_bytes(part)
    assert hash_files(paths) == hashlib.sha256(b"".join(content)).hexdigest()
    assert hash_files(paths[::-1]) == hashlib.sha256(b"".join(content[::-1])).hexdigest()
    with pytest.raises(FileNotFoundError):
        hash_files([tmp_path / "nowhere"])


def test_a_hash_of_an_array_follows_its_values_row_by_row() -> None:
    array = np.arange(12, dtype="<i2").reshape(3, 4)
    by_hand = b"".join(value.to_bytes(2, "little") for value in range(12))
    for same in (array, np.asfortranarray(array), np.repeat(array, 2, axis=1)[:, ::2]):
        assert hash_array(same) == hashlib.sha256(by_hand).hexdigest()
    assert hash_array(array.T) != hash_array(array)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_digests_become_rows_and_back(count: int) -> None:
    digests = [hashlib.sha256(bytes([number])).digest() for number in range(count)]
    rows = key_rows([digest.hex() for digest in digests])
    assert (rows.shape, rows.dtype) == ((count, 32), np.uint8)
    assert [row.tobytes() for row in rows] == digests
    assert hexadecimal(rows) == [digest.hex() for digest in digests]


def test_a_value_that_is_no_number_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        fingerprint({"a": float("nan")})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "values.json", {"a": float("nan")})


def test_json_of_equal_values_has_equal_bytes(tmp_path: Path) -> None:
    values = {"b": [1, "ü"], "a": {"d": 1, "c": None}}
    for name, written in (("one", values), ("two", dict(reversed(values.items())))):
        write_json(tmp_path / name, written)
    text = (tmp_path / "one").read_text(encoding="utf-8")
    assert (tmp_path / "two").read_text(encoding="utf-8") == text
    assert json.loads(text) == values
    places = [text.index(f'"{name}"') for name in "acdb"]
    assert places == sorted(places)
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("head", "is_one"),
    [
        (bytes(128) + b"DICM", True),
        (b"\xff" * 128 + b"DICM" + b"\x02\x00", True),
        (bytes(127) + b"DICM", False),
        (bytes(129) + b"DICM", False),
        (bytes(128) + b"DIC", False),
        (b"DICM", False),
        (b"", False),
    ],
)
def test_a_dicom_file_is_known_by_four_letters_behind_128_bytes(head: bytes, is_one: bool) -> None:
    assert is_dicom(head) is is_one


@pytest.mark.parametrize(("mode", "left"), [({}, 0o646), ({"mode": 0o600}, 0o600), ({"mode": 0o464}, 0o444)])
def test_a_replaced_file_has_the_mode_asked_for_less_the_umask(
    umask: None, tmp_path: Path, mode: dict[str, int], left: int
) -> None:
    path = tmp_path / "text"
    path.write_text("before")
    path.chmod(0o666)
    write_atomically(path, "after ü", **mode)
    assert path.read_bytes() == "after ü".encode()
    assert path.stat().st_mode & 0o777 == left
    with replace_atomically(path, **mode) as beside:
        assert beside.stat().st_mode & 0o777 == left
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_as_it_was_until_the_end_and_after_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("before")
    (tmp_path / f".text-{os.getpid()}").write_text("left by a kill")
    with replace_atomically(path) as beside:
        assert beside.parent == tmp_path
        assert beside.read_text() == ""
        beside.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"

    def stop() -> None:
        with replace_atomically(path) as beside:
            beside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_are_read_back_and_a_fault_of_the_disk_is_an_oserror(tmp_path: Path) -> None:
    tensors = {"turned": torch.arange(6.0).reshape(2, 3).T, "whole": torch.ones(2)}
    save_tensors(tensors, tmp_path / "tensors", {"about": "a test"})
    assert {name: part.tolist() for name, part in load_file(tmp_path / "tensors").items()} == {
        name: part.tolist() for name, part in tensors.items()
    }
    with pytest.raises(FileNotFoundError) as fault:
        save_tensors(tensors, tmp_path / "nowhere" / "tensors")
    assert fault.value.errno == errno.ENOENT


def test_written_json_is_fixed_to_the_byte(tmp_path: Path) -> None:
    """Digests of manifests and cards depend on it."""
    write_json(tmp_path / "a.json", {"b": [1, None], "a": "é"})
    assert (tmp_path / "a.json").read_bytes() == b'{\n "a": "\\u00e9",\n "b": [\n  1,\n  null\n ]\n}\n'


def test_dicom_is_known_by_the_four_bytes_after_the_preamble() -> None:
    assert is_dicom(bytes(128) + b"DICM")
    assert is_dicom(bytes(range(128)) + b"DICM" + b"more")
    assert not is_dicom(bytes(129) + b"DICM")
    assert not is_dicom(bytes(127) + b"DICM")
    assert not is_dicom(bytes(128) + b"DIC")
