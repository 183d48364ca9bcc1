"""Patients' names, numbers, dates and burned-in text: planted in a whole export, found nowhere after a run."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts import ecg, teacher
from echoingecg.common import hash_array, hash_files, hexadecimal
from echoingecg.ecg.decode import source_files
from echoingecg.recipe import TeacherSettings
from echoingecg.simulator.export import simulate
from echoingecg.teacher.frames import read_clip
from echoingecg.teacher.pictures import contact_sheet
from flows.request import find_recipe
from helpers.privacy.personal_export import (
    BIRTHS,
    ECG,
    FORMATS,
    GIVEN,
    PATIENT,
    PRINTED,
    REPORT,
    STUDY,
    SURNAME,
    TELEPHONE,
    WARD,
    printed,
    write_export,
)  # fmt: skip
from helpers.privacy.searching import NEEDS_OCR, Words, as_numbers, contents, is_legible, likeness, numbers, pictures
from tasks.base.workspace import Workspace
from tasks.pools import Pool, array_of, read_rows, rows_of
from tasks.store import ArtefactStore

WORDS = (SURNAME, GIVEN, WARD, TELEPHONE, *BIRTHS, PATIENT, STUDY, ECG, REPORT)
SETTINGS = ('catalog.public_key=""', *(f"{one}.max_refused_share=0.9" for one in ("catalog", "ecg", "teacher")))
LINES = [printed(edge, edge) for edge in (100, 120, 150, 180, 224)]  # px: frames are drawn at 120 and 224
ALIKE = 0.75  # correlation from which a picture holds the line


@dataclass(frozen=True)
class Finished:
    """A run of the command line against a Prefect server of its own, and what it was given."""

    export: Path
    workspace: Path
    prefect: Path
    log: str
    times: set[str]

    @property
    def words(self) -> Words:
        days = {one[:10] for one in self.times}
        return Words((*WORDS, *days, *(day.replace("-", "") for day in days)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("privacy")
    settings = find_recipe("smoke", ["simulator.real_recordings=false"]).simulator
    assert settings is not None
    simulate(settings, root / "simulated")
    export, times = write_export(root / "simulated", root / "export")
    environment = os.environ | {"PREFECT_HOME": str(root / "prefect"), "PREFECT_LOGGING_LEVEL": "DEBUG"}
    environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # a busy machine starts it slowly
    environment.pop("PREFECT_API_URL", None)
    chosen = [part for one in SETTINGS for part in ("--set", one)]
    command = ("run", "smoke", "--export", str(export), "--workspace", str(root / "workspace"), *chosen)
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *command], capture_output=True, text=True, check=False,
        env=environment,
        umask=0o022,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Finished(export, root / "workspace", root / "prefect", done.stdout + done.stderr, times)


def left_behind(run: Finished) -> Iterator[tuple[str, bytes]]:
    """Everything but the private index."""
    yield "log", run.log.encode()
    yield from contents(run.prefect)
    for name, data in contents(run.workspace):
        if not name.removeprefix("path of ").startswith("private/"):
            yield name, data


@pytest.mark.slow
def test_nobody_is_named(run: Finished) -> None:
    words = run.words
    found = {name: word for name, data in left_behind(run) if (word := words.found(data))}
    assert found == {}


@pytest.mark.slow
def test_every_format_was_read_and_every_fault_refused(run: Finished) -> None:
    """Else the test above would be about an empty run."""
    tables = {
        f"{path.parent.parent.name}/{path.name}": pq.read_table(path) for path in run.workspace.rglob("*.parquet")
    }
    assert tables["ecg/records.parquet"].num_rows >= 24 > len(FORMATS)
    assert tables["teacher/clips.parquet"].num_rows >= 20
    assert set(tables["catalog/quarantine.parquet"]["reason"].to_pylist()) == {
        "bad_row", "free_text", "missing_file", "outside_export"
    }  # fmt: skip
    assert len(set(tables["ecg/quarantine.parquet"]["reason"].to_pylist())) >= 4
    assert tables["catalog/subgroups.parquet"].num_rows >= 20
    log_lines = [line for line in run.log.splitlines() if "refused" in line]
    assert len(log_lines) > 5


@pytest.mark.slow
def test_nobody_finds_a_source_file_by_its_hash(run: Finished) -> None:
    """SHA-256 of each file, and of a record's files together, as text and as bytes."""
    files = [path for path in run.export.rglob("*") if path.is_file()]
    hashes = {hash_files([path]) for path in files}
    hashes |= {hash_files(source_files(path)) for path in files if path.suffix == ".hea" and "spoilt" not in path.parts}
    assert len(hashes) > 60
    starts = {digest[:16].encode() for digest in hashes} | {bytes.fromhex(digest)[:8] for digest in hashes}
    assert [name for name, data in left_behind(run) if any(start in data for start in starts)] == []
    private = b"".join(data for _, data in contents(run.workspace / "private"))
    assert sum(digest.encode() in private for digest in hashes) > 30, "the search finds them where they are"


@pytest.mark.slow
def test_nobody_finds_a_row_by_a_hash_of_its_signal_or_embeddings(run: Finished) -> None:
    """What who holds a patient's file can compute of it is in the pools, beside the signals themselves, alone."""
    digests: dict[str, set[str]] = {}
    for artefact in ArtefactStore(Workspace(run.workspace)).here():
        if (pool := artefact.manifest.run.pool) is None:
            continue
        group = Pool.read(Workspace(run.workspace), pool)
        if artefact.stage == "ecg":
            parts, kept = list(read_rows(array_of(group, ecg.SIGNAL))), ecg.DIGEST
        else:
            starts, kept = rows_of(group, teacher.CLIP_START), teacher.DIGEST
            parts = np.split(read_rows(array_of(group, teacher.EMBEDDING)), starts[1:])
        digests[artefact.stage] = {hash_array(part) for part in parts}
        assert digests[artefact.stage] == set(hexadecimal(rows_of(group, kept)))
    assert len(digests["ecg"]) >= 24
    assert len(digests["teacher"]) >= 20
    every = set.union(*digests.values())
    starts_of = {digest[:16].encode() for digest in every} | {bytes.fromhex(digest)[:8] for digest in every}
    outside = (
        (name, data) for name, data in left_behind(run) if not name.removeprefix("path of ").startswith("pools/")
    )
    assert [name for name, data in outside if any(start in data for start in starts_of)] == []


@pytest.mark.slow
def test_no_number_is_a_date(run: Finished) -> None:
    dates = as_numbers({*run.times, BIRTHS[0]})
    columns = [one for one in numbers(run.workspace) if not one[0].startswith("private/")]
    assert len(columns) > 50
    assert [name for name, values in columns if np.isin(np.asarray(values, np.float64), dates).any()] == []


@pytest.mark.slow
def test_no_picture_shows_the_burned_in_line(run: Finished) -> None:
    shown = {name: one for root in (run.workspace, run.prefect) for name, one in pictures(root)}
    assert any("contact" in name for name in shown)
    assert any("prefect.db" in name for name in shown)
    assert {name: like for name, one in shown.items() if (like := likeness(one, LINES)) > ALIKE} == {}


@NEEDS_OCR
@pytest.mark.slow
def test_no_picture_lets_a_program_read_the_name_on_the_heart(run: Finished) -> None:
    shown = {one.tobytes(): (name, one) for root in (run.workspace, run.prefect) for name, one in pictures(root)}
    assert len(shown) > 10
    assert [name for name, one in shown.values() if is_legible(PRINTED, one)] == []


@NEEDS_OCR
@pytest.mark.slow
def test_a_program_reads_the_name_where_the_print_is_not_taken_out(run: Finished) -> None:
    """What the teacher sees, which nobody is shown."""
    clips = [next(run.export.rglob(f"*_000{number}.dcm")) for number in (1, 2)]
    frames = [read_clip(clip, TeacherSettings(), 120) for clip in clips]
    assert all(is_legible(PRINTED, clip.min(axis=0).min(axis=-1)) for clip in frames)


@pytest.mark.slow
def test_the_line_would_be_seen_without_the_mask(run: Finished) -> None:
    """The sheet for the eyes of who asks for one file holds the frames as they are, above the masked ones."""
    clip = next(run.export.rglob("*_0001.dcm"))
    sheet = cv2.imdecode(np.frombuffer(contact_sheet(clip, TeacherSettings()).png, np.uint8), cv2.IMREAD_GRAYSCALE)
    raw, masked = np.split(sheet, 2)
    assert likeness(raw, LINES) > 0.85
    assert likeness(masked, LINES) < ALIKE


@pytest.mark.slow
def test_the_private_index_is_the_owners_alone(run: Finished) -> None:
    private = run.workspace / "private"
    assert any(run.words.found(data) for _, data in contents(private)), "paths are resolved there"
    modes = {str(one): stat.S_IMODE(one.stat().st_mode) for one in (private, *private.rglob("*"))}
    assert modes == {name: 0o700 if Path(name).is_dir() else 0o600 for name in modes}
    assert len(modes) >= 3


def test_the_search_finds_a_word_wherever_it_is(tmp_path: Path) -> None:
    """The other tests rest on this one."""
    import icechunk
    import zarr

    words = Words([SURNAME, BIRTHS[1]])
    assert words.found(b"id 19510307,") == "19510307"
    assert words.found(b"0.19510307, 195103074") == ""
    rows = pa.table({"text": [SURNAME.upper()] * 3})
    pq.write_table(rows, tmp_path / "a.parquet", compression="zstd")
    pq.write_table(rows, tmp_path / "b.parquet", compression="snappy")
    pq.write_table(pa.table({"n": [1]}).replace_schema_metadata({"who": SURNAME}), tmp_path / "c.parquet")
    (tmp_path / "d.txt").write_text(f"so {SURNAME}", "utf-16")
    with pa.CompressedOutputStream(str(tmp_path / "e.gz"), "gzip") as file:
        file.write(SURNAME.encode() * 9)
    (tmp_path / SURNAME).touch()
    pool = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "pool")))
    session = pool.writable_session("main")
    letters = np.frombuffer(SURNAME.encode(), np.uint8)
    array = zarr.open_group(session.store, mode="a").create_array("f", shape=letters.shape, dtype="u1")
    array[:] = letters
    session.commit("f")
    found = {name.split(" (")[0] for name, data in contents(tmp_path) if words.found(data)}
    assert found >= {"a.parquet", "b.parquet", "c.parquet", "d.txt", "e.gz", f"path of {SURNAME}", "pool: f"}
    shutil.rmtree(tmp_path / "pool")
