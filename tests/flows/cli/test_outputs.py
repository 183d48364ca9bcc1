"""What is written never takes the place of an input; names are shown as text; pipes and devices are refused at once."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_contracts.conventions import UserError
from data_contracts.prediction import NUMBERS, READINGS
from echoingecg.catalog.check import check_export
from echoingecg.common import StoreError, hash_files
from echoingecg.ecg.decode import content_hash, decode
from echoingecg.ecg.decode.wfdb_fast import read_plain
from echoingecg.prediction.predictor import Predicted
from echoingecg.recipe import CatalogSettings, ModelSettings
from echoingecg.student.model.text_encoder import text_tower
from echoingecg.student.released.text_tower import read_tokenizer
from echoingecg.teacher.decode import read_header
from flows.cli import main, options, output
from helpers.ecg.ecg_files import ecg_steps, write_dicom, write_wfdb


def run(*arguments: str) -> None:
    main.app(list(arguments), standalone_mode=False)


COMMANDS: dict[str, Callable[[str, str], list[str]]] = {
    "predict": lambda file, workspace: ["predict", file, "--parquet", file, "-w", workspace],
    "embed": lambda file, workspace: ["embed", file, "--parquet", file, "-w", workspace],
    "stress": lambda file, workspace: ["stress", "--parquet", file, "-w", workspace],
    "figure": lambda file, workspace: ["stress", "--figure", file, "-w", workspace],
    "plot": lambda file, workspace: ["plot", file, "-o", file],
    "echo": lambda file, workspace: ["echo", file, "-o", file],
    "export-embeddings": lambda file, workspace: ["export-embeddings", file, "-w", workspace],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_input_is_never_overwritten(tmp_path: Path, name: str) -> None:
    path = write_dicom(tmp_path, ecg_steps(seconds=1.0))
    before = hash_files([path])
    with pytest.raises(UserError, match=r"is no (Parquet|PNG) file: it is not replaced|the page is \.png"):
        run(*COMMANDS[name](str(path), str(tmp_path / "workspace")))
    assert hash_files([path]) == before


def test_what_may_be_written(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    artefact = workspace / "artefacts" / "ecg-1"
    artefact.mkdir(parents=True)
    elsewhere = tmp_path / "copied"
    elsewhere.mkdir()
    (elsewhere / "manifest.json").touch()
    (tmp_path / "link").symlink_to(artefact)
    (tmp_path / "old.parquet").write_bytes(b"PAR1 and more")
    os.mkfifo(tmp_path / "pipe")
    for name in ("new.parquet", "old.parquet", "workspace/new.parquet"):
        assert options.check_output(tmp_path / name, "Parquet", str(workspace)) == tmp_path / name
    for name in (
        "workspace/artefacts/ecg-1/a.parquet",
        "link/a.parquet",
        "workspace/private/a",
        "workspace/leases/a",
        "copied/records.parquet",
    ):
        with pytest.raises(UserError, match="among the published artefacts"):
            options.check_output(tmp_path / name, "Parquet", str(workspace))
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(UserError, match="not a regular file"):
            options.check_output(place, "Parquet", str(workspace))


def test_control_characters_are_text(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "\x1b[2J\x07\x9bname\u202e.dcm"
    path.touch()
    monkeypatch.setattr(sys, "argv", ["echoingecg", "plot", str(path), "-o", str(path)])
    monkeypatch.setattr(options, "check_output", lambda *_: (_ for _ in ()).throw(UserError(f"{path}: empty")))
    with pytest.raises(SystemExit):
        main.main()
    said = capsys.readouterr().err
    assert said.rstrip("\n").isprintable()
    assert r"\x1b[2J\x07\x9bname\u202e.dcm" in said
    refused = READINGS.build([{"file": str(path), "reason": "unreadable", "detail": "empty"}])
    output.print_readings([Predicted(refused, NUMBERS.build([]))], [str(path)], "a student")
    table = capsys.readouterr().out
    assert all(line.isprintable() for line in table.splitlines())
    assert r"\x1b[2J" in table
    options.say("a\nb\tc")
    assert capsys.readouterr().out == "a\nb\\tc\n"


@pytest.fixture
def soon() -> Iterator[None]:
    """Ends the test after 20 s: reading a pipe would wait for ever."""

    class Waited(BaseException):
        pass

    def end(*_: object) -> None:
        raise Waited

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("soon")
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    for name in ("pipe.dcm", "a.hea"):
        os.mkfifo(tmp_path / name)
    record = write_wfdb(tmp_path, ecg_steps(seconds=1.0)).with_suffix(".hea")
    record.with_suffix(".dat").unlink()
    os.mkfifo(record.with_suffix(".dat"))
    for path in (tmp_path / "pipe.dcm", tmp_path / "a.hea", tmp_path / "a", record, Path("/dev/zero")):
        assert read_plain(path) is None
        with pytest.raises((UserError, OSError)):
            decode(path)
        with pytest.raises(OSError, match=r"regular|No such file"):
            content_hash(path)
        with pytest.raises((UserError, OSError)):
            read_header(path)
    rows = [f"P1,{number},2021-03-01 08:00:00,{name}" for number, name in enumerate(("pipe.dcm", "a", record.name))]
    (tmp_path / "ecgs.csv").write_text("\n".join(["patient_id,ecg_id,time,path", *rows]) + "\n")
    summary = check_export(tmp_path, CatalogSettings(public_key="open"))
    assert summary.refused.total() == 2, "it opens no signals: a run hashes them, as above"


@pytest.mark.usefixtures("soon")
def test_a_text_model_runs_no_code_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    maps = '{"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoTokenizer": ["own.Own", null]}'
    (tmp_path / "config.json").write_text(f'{{"model_type": "own", "auto_map": {maps}}}')
    (tmp_path / "tokenizer_config.json").write_text(f'{{"tokenizer_class": "Own", "auto_map": {maps}}}')
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
    with pytest.raises(StoreError) as refused:
        read_tokenizer(str(tmp_path), 30, 16)
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError) as stopped:
        text_tower(ModelSettings(text=str(tmp_path)), [])
    assert "\n" not in str(stopped.value)
    assert not asked
    assert not ran.exists()
