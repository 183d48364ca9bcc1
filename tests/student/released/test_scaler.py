"""The released scaler's pickle runs nothing: scalers come through exactly, hostile files are refused."""

import gzip
import io
import json
import os
import pickle
import re
import struct
import time
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joblib.numpy_pickle import NumpyArrayWrapper
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from data_contracts.conventions import LEADS
from echoingecg.common import ContractError, StoreError
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.released.scaler import MAX_BYTES, read_released_scaler
from helpers.cases.released_files import fitted_scaler

SCALER = fitted_scaler()


def dumped(value: object, **options: object) -> bytes:
    """As joblib.dump writes it."""
    file = io.BytesIO()
    joblib.dump(value, file, **options)
    return file.getvalue()


def read(content: bytes, folder: Path, name: str = "ecg_scaler.pkl") -> Scaler:
    path = folder / name
    path.write_bytes(content)
    return read_released_scaler(path)


def refusal(content: bytes, folder: Path, name: str = "ecg_scaler.pkl") -> str:
    with pytest.raises(ContractError) as caught:
        read(content, folder, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("write", [dumped, pickle.dumps])
def test_a_scaler_comes_through_exactly(write, protocol, tmp_path):
    found = read(write(SCALER, protocol=protocol), tmp_path)
    assert np.array_equal(found.mean, SCALER.mean_)
    assert np.array_equal(found.scale, SCALER.scale_)
    assert found.as_json()["leads"] == list(LEADS)


@pytest.mark.parametrize("compress", [("zlib", 3), ("gzip", 9), 1])
def test_compressed_files(compress, tmp_path):
    joblib.dump(SCALER, tmp_path / "ecg_scaler.pkl", compress=compress)
    assert np.array_equal(read_released_scaler(tmp_path / "ecg_scaler.pkl").mean, SCALER.mean_)


def unpadded_wrapper(wrapper, subclass, shape, order, dtype, allow_mmap=False):
    vars(wrapper).update(subclass=subclass, shape=shape, order=order, dtype=dtype, allow_mmap=allow_mmap)


def test_files_of_older_libraries(tmp_path, monkeypatch):
    """NumPy 1 calls its core otherwise; joblib before 1.2 wrote no padding; big-endian and float32 arrays."""
    old = pickle.dumps(SCALER, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert np.array_equal(read(old, tmp_path).scale, SCALER.scale_)
    with monkeypatch.context() as patch:
        patch.setattr(NumpyArrayWrapper, "__init__", unpadded_wrapper)
        unpadded = dumped(SCALER)
    assert len(unpadded) < len(dumped(SCALER))
    assert np.array_equal(read(unpadded, tmp_path).scale, SCALER.scale_)
    for dtype in (">f8", "<f4"):
        other = fitted_scaler()
        other.mean_ = other.mean_.astype(dtype)
        assert np.array_equal(read(dumped(other), tmp_path).mean, other.mean_)


def test_json_of_an_export(tmp_path):
    scaler = Scaler(SCALER.mean_, SCALER.scale_)
    found = read(json.dumps(scaler.as_json()).encode(), tmp_path, "ecg_scaler.json")
    assert np.array_equal(found.mean, scaler.mean)
    assert np.array_equal(found.scale, scaler.scale)
    clinical = {**scaler.as_json(), "leads": ["I", "II", "III", "aVR", "aVL", "aVF", *LEADS[6:]]}
    assert "leads" in refusal(json.dumps(clinical).encode(), tmp_path, "ecg_scaler.json")
    for content in (b"", b"[]", b"[" * 5000, b'{"leads": 3}', b"\xff"):
        refusal(content, tmp_path, "ecg_scaler.json")


def changed(**state: object) -> StandardScaler:
    scaler = fitted_scaler()
    vars(scaler).update(state)
    return scaler


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (fitted_scaler(11), "one mean and one scale a lead"),
        (StandardScaler(), "no StandardScaler that was fitted"),
        (fitted_scaler(with_mean=False), "with_mean"),
        (fitted_scaler(with_std=False), "with_std"),
        (changed(scale_=np.zeros(12)), "not positive"),
        (changed(scale_=np.full(12, np.inf)), "not finite"),
        (changed(mean_=np.full(12, np.nan)), "not finite"),
        (changed(mean_=[0.0] * 12), "no StandardScaler that was fitted"),
        (changed(mean_=np.zeros((12, 1))), "more than one axis"),
        (changed(mean_=np.array(["a"] * 12)), "other than plain numbers"),
        (changed(feature_names_in_=np.array(list(LEADS), dtype=object)), "other than plain numbers"),
        (MinMaxScaler().fit(np.eye(12)), "'sklearn.preprocessing._data.MinMaxScaler'"),
        ({"mean_": np.zeros(12), "scale_": np.ones(12)}, "no StandardScaler"),
        (np.zeros(12), "no StandardScaler"),
    ],
)
def test_other_objects_are_refused(value, message, tmp_path):
    assert re.search(message, refusal(dumped(value), tmp_path))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="No such file"):
        read_released_scaler(tmp_path / "none.pkl")


class Call:
    """Calls a function when unpickled."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> object:
        return self.call


class StatefulCall(Call):
    """Hands the call's result to `__setstate__`."""

    def __reduce__(self) -> object:
        function, arguments = self.call
        return StandardScaler, (), Call(function, *arguments)


def in_object_array(value: object) -> bytes:
    """A scaler whose mean is an object array: joblib pickles its values behind the wrapper."""
    return dumped(changed(mean_=np.array([value] * 12, dtype=object)))


def opcodes(function: str, canary: str) -> dict[str, bytes]:
    """Streams written by hand that call os.mkdir by every way a pickle has, protocol 0 on."""
    module, name = function.split(".")
    text = canary.encode()
    unicode = b"X" + struct.pack("<I", len(text)) + text
    named = f"c{module}\n{name}\n".encode()
    return {
        "global": named + b"(" + unicode + b"tR.",
        "inst": b"(" + unicode + f"i{module}\n{name}\n.".encode(),
        "obj": b"(" + named + unicode + b"o.",
        "stack_global": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93" + unicode + b"\x85R.",
        "attributes": b"\x80\x04\x8c\x06shutil\x8c\x08os.mkdir\x93" + unicode + b"\x85R.",
    }


HOSTILE = {
    "reduce": lambda call: dumped(call),
    "plain": lambda call: pickle.dumps(call),
    "zlib": lambda call: zlib.compress(dumped(call)),
    "gzip": lambda call: gzip.compress(dumped(call)),
    "in state": lambda call: dumped(changed(mean_=call)),
    "in a list in state": lambda call: pickle.dumps(changed(note=[{"a": (call,)}])),
    "object array": in_object_array,
    "setstate": lambda call: pickle.dumps(StatefulCall(call.call[0], *call.call[1])),
    "before the scaler": lambda call: pickle.dumps((call, SCALER)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("function", ["mkdir", "eval"])
def test_hostile_pickles_run_nothing(name, function, tmp_path):
    canary = tmp_path / "canary"
    call = (
        Call(os.mkdir, str(canary)) if function == "mkdir" else Call(eval, f"__import__('os').mkdir({str(canary)!r})")
    )
    content = HOSTILE[name](call)
    refusal(content, tmp_path)
    assert not canary.exists()
    joblib_reads(content)
    assert canary.exists(), "the file was hostile"


@pytest.mark.parametrize("name", opcodes("os.mkdir", ""))
def test_hostile_opcodes_run_nothing(name, tmp_path):
    canary = tmp_path / "canary"
    content = opcodes("os.mkdir", str(canary))[name]
    refusal(content, tmp_path)
    assert not canary.exists()
    pickle.loads(content)  # noqa: S301 - the control: the stream does what it is feared to do
    assert canary.exists(), "the stream was hostile"


def joblib_reads(content: bytes) -> None:
    """Reads as the world does; what the object is worth afterwards does not matter."""
    try:
        joblib.load(io.BytesIO(content))
    except (AttributeError, TypeError, FileExistsError):
        return


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x82\x01.",  # extension registry
        b"\x80\x04Pabc\n.",  # persistent id
        b"\x80\x05\x97.",  # out-of-band buffer
        b"\x80\x04cnumpy\nndarray\n}b.",  # BUILD on a class
        b"\x80\x04cnumpy\nndarray\n}}\x86b.",  # BUILD with slots on a class
        b"\x80\x04cnumpy\nndarray\n]R.",  # a call whose arguments are no tuple
        b"\x80\x04cnumpy\nndarray\n)}\x92.",  # NEWOBJ_EX
        b"\x80\x04]cnumpy\nndarray\na.",
        b"\x80\x04}(K\x01K\x02u.",  # a key that is no text
        b"\x80\x04}(K\x01u.",
        b"\x80\x04}" + b")" + b"0)2\x86" + b"2\x86" * 60 + b"K\x01s.",  # a key whose hash takes 2^60 steps
        b"\x80\x04}()" + b"2\x86" * 60 + b"K\x01u.",
        b"\x80\x04\x8f()" + b"2\x86" * 60 + b"\x90.",  # and such a member of a set
        b"\x80\x04()" + b"2\x86" * 60 + b"\x91.",
        b"(" + b")" + b"2\x86" * 60 + b"K\x01d.",
        b"\x80\x04cnumpy\ndtype\n)R}b\x82\x01.",
        b"\x80\x04h\x07.",  # memo never filled
        b"\x80\x04.",
        b"\x80\x04u.",
        b"(" * 1000,
        b"\x80\x04" + b")" + b"\x85" * 60_000 + b".",  # a tuple 60,000 deep
        b"\x80\x04Nr\xff\xff\xff\xff.",  # memo entry 4,294,967,295
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",  # a bytearray of 2^60 bytes
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N.",
        b"\x80\x04\x8b\xff\xff\xff\x7f.",  # an integer of 2^31 bytes
        b"I" + b"9" * 10_000 + b"\n.",
    ],
)
def test_tricks_are_refused_at_once(content, tmp_path):
    started = time.process_time()
    refusal(content, tmp_path)
    assert time.process_time() - started < 1


def test_promises_of_huge_arrays_are_refused(tmp_path):
    small = dumped(SCALER)
    twelve = b"\x8c\x05shape\x94K\x0c\x85"
    assert small.count(twelve) == 1
    for shape in (b"\x8a\x08" + struct.pack("<q", 1 << 60), b"\x8a\x09" + b"\xff" * 8 + b"\x00", b"J\xff\xff\xff\xff"):
        refusal(small.replace(twelve, twelve[:-3] + shape + b"\x85"), tmp_path)
    assert f"over {MAX_BYTES} bytes" in refusal(gzip.compress(bytes(50_000_000)), tmp_path)
    assert f"over {MAX_BYTES} bytes" in refusal(small + bytes(MAX_BYTES), tmp_path)


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_give_a_scaler_or_one_line(tmp_path, data):
    content = bytearray(dumped(SCALER))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    try:
        found = read(bytes(content), tmp_path)
    except ContractError:
        refusal(bytes(content), tmp_path)
        return
    assert found.mean.shape == found.scale.shape == (12,)
    assert np.isfinite(found.mean).all()
    assert (found.scale > 0).all()


@hypothesis_settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_one_line(tmp_path, content):
    refusal(content, tmp_path)
