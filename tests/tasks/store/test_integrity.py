"""What is read is what was published: a damaged file is refused in one line by whatever reads it.

Not in scope: somebody who changes a file and the manifest's checksum of it, or who changes a file and restores its
time, size and inode within a running process.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import echoingecg
from data_contracts import catalog, ecg, evaluation, pairs, student, teacher
from data_contracts.conventions import Stage, UserError
from data_contracts.evaluation import MODEL_CARD
from data_contracts.manifest import POOL_CONTENT, DamagedError, Manifest, checked_file
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from flows.cli.output import print_run
from helpers.cases.command_line import call
from helpers.cases.damage import damaged_once
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from tasks.evaluation import rebuild_report
from tasks.operations.search import Cohort
from tasks.operations.students import find_student
from tasks.operations.verify_and_collect import faults, verify_artefacts
from tasks.pools import Pool, PoolSignals, array_of, published_digests, read_rows, rows_by_key, rows_in_pool
from tasks.store import Artefact
from tasks.teacher import contact_sheet, read_targets


def flip(path: Path, seed: int) -> Callable[[], None]:
    """Flips one bit; returns what undoes it."""
    content = path.read_bytes()
    draw = np.random.default_rng(seed)
    damaged = bytearray(content)
    damaged[draw.integers(len(damaged))] ^= 1 << int(draw.integers(8))
    path.write_bytes(damaged)
    return lambda: path.write_bytes(content) and None


STAGES = {"catalog": catalog, "ecg": ecg, "teacher": teacher, "pairs": pairs, "student": student,
          "evaluation": evaluation}  # fmt: skip


def read(run: Run, artefact: Artefact, name: str) -> None:
    """Reads a file of an artefact by the function of the program that reads it."""
    if name.endswith(".parquet"):
        next(table for table in STAGES[artefact.stage].TABLES if table.filename == name).read(artefact.folder)
    elif name == POOL_CONTENT:
        assert artefact.manifest.run.pool is not None
        group = Pool.read(run.job.workspace, artefact.manifest.run.pool)
        table = (ecg.RECORDS if artefact.stage == "ecg" else teacher.CLIPS).read(artefact.folder)
        published_digests(artefact, table, group, rows_in_pool(group, table["content_hash"].to_pylist()))
    elif artefact.stage == "teacher":
        read_targets(artefact)
        contact_sheet(artefact)
    elif artefact.stage == "student":
        echoingecg.load(artefact.folder, settings=run.job.recipe.ecg)
    else:
        print_run({"evaluation": artefact})
        checked_file(artefact.folder, evaluation.FIGURES)
        LoadedReadingCard.load(artefact.folder)


# Written for people; `artefacts report` makes it anew from the tables.
UNREAD = {MODEL_CARD}


def test_one_bit_in_any_file_of_an_artefact_is_refused_by_its_reader(copied: Run) -> None:
    for artefact in copied.job.store.here():
        for number, name in enumerate(artefact.manifest.files):
            read(copied, artefact, name)
            undo = flip(artefact.folder / name, number)
            with nullcontext() if name in UNREAD else pytest.raises(DamagedError) as fault:
                read(copied, artefact, name)
            if fault is not None:
                mend = f"delete {artefact.folder} and run again what made it"
                assert str(fault.value) == (
                    f"{artefact}: {name} is damaged, its bytes are not those that were published: {mend}"
                )
            assert list(faults(copied.job.store, artefact)) == [f"{artefact}: {name} has changed"]
            undo()


def test_one_bit_in_a_manifest_is_refused(copied: Run) -> None:
    """Counts, times and the name of the pool are covered, too."""
    for artefact in copied.job.store.here():
        path = artefact.folder / "manifest.json"
        for seed in range(25):
            undo = flip(path, seed)
            with pytest.raises(UserError) as fault:
                copied.job.store.get(str(artefact))
            assert "\n" not in str(fault.value)
            assert f"delete {artefact.folder} and run again" in str(fault.value)
            with pytest.raises(DamagedError):
                checked_file(artefact.folder, next(iter(artefact.manifest.files)))
            undo()
        assert copied.job.store.get(str(artefact)) == artefact.__class__(artefact.folder, artefact.manifest)


def is_the_same(text: bytes, manifest: Manifest) -> bool:
    try:
        return Manifest.from_json(text) == manifest
    except ValueError:
        return False


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_damage_of_any_kind_to_any_file_is_refused(copied: Run, count: int) -> None:
    """Bytes changed, put in, taken out or cut off, in manifests too; never another answer, never a traceback."""
    files = [
        (artefact, name) for artefact in copied.job.store.here() for name in ("manifest.json", *artefact.manifest.files)
    ]
    for number in range(count):
        artefact, name = files[number % len(files)]
        path = artefact.folder / name
        content = path.read_bytes()
        spoilt, _ = damaged_once(content, np.random.default_rng((22, number)))
        if spoilt == content or name in UNREAD:
            continue
        if (is_manifest := name == "manifest.json") and is_the_same(spoilt, artefact.manifest):
            continue  # a blank more or less
        path.write_bytes(spoilt)
        with pytest.raises(UserError) as fault:
            copied.job.store.get(str(artefact)) if is_manifest else read(copied, artefact, name)
        assert "\n" not in str(fault.value)
        assert f"delete {artefact.folder} and run again" in str(fault.value), (name, number)
        path.write_bytes(content)


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("pattern", "stages", "again"),
    [
        ("hours/*/ecgs.parquet", ("catalog", "ecg", "teacher", "pairs"), "pairs"),
        ("hours/*/echoes.parquet", ("catalog", "ecg", "teacher", "pairs"), "pairs"),
        ("sources-*.parquet", ("catalog", "ecg"), "catalog"),
        ("rows-*.parquet", ("catalog",), "catalog"),
    ],
)
def test_a_damaged_private_table_is_made_again(
    copied: Run, pattern: str, stages: tuple[Stage, ...], again: str, count: int
) -> None:
    """Times of another hour would make other pairs, a wrong hash of a file another row; Parquet notices neither."""
    root, recipe = copied.job.workspace.root, copied.job.recipe
    job = make_job(recipe, str(copied.job.export), str(root), start_from=again)
    sound = run_stages(job, *stages).content
    for number in range(count):
        (path,) = (root / "private").glob(pattern)
        spoilt, _ = damaged_once(path.read_bytes(), np.random.default_rng((7, number)))
        path.write_bytes(spoilt)
        assert (
            run_stages(make_job(recipe, str(copied.job.export), str(root), start_from=again), *stages).content == sound
        )


def outcome_of(work: Callable[[], str]) -> str:
    try:
        return work()
    except UserError as fault:
        return str(fault)


def test_a_damaged_alias_is_one_line(copied: Run) -> None:
    store = copied.job.store
    store.set_alias("best", copied.artefacts["student"])
    path = copied.job.workspace.artefacts / "aliases/best"
    content = path.read_bytes()
    for number in range(60):
        path.write_bytes(damaged_once(content, np.random.default_rng((8, number)))[0])
        named = outcome_of(lambda: str(store.get("best")))
        assert named == str(copied.artefacts["student"]) or len(named.splitlines()) == 1, number


def test_a_file_is_hashed_once_in_a_process_and_again_when_it_changes(
    copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, hashed = copied.job.store.get(str(copied.artefacts["pairs"])).folder, []
    real = checked_file.__globals__["checksum_of"]
    monkeypatch.setitem(checked_file.__globals__, "checksum_of", lambda path: hashed.append(path.name) or real(path))
    for _ in range(3):
        pairs.PATIENTS.read(folder)
    assert hashed == ["patients.parquet"]
    os.utime(folder / "patients.parquet")
    pairs.PATIENTS.read(folder)
    assert hashed == ["patients.parquet"] * 2


@pytest.mark.slow
def test_the_commands_answer_nothing_from_a_damaged_student_or_card(copied: Run, tmp_path: Path) -> None:
    place = {"ECHOINGECG_WORKSPACE": str(copied.job.workspace.root)}
    file = str(next((copied.job.export / "mimic-iv-ecg").rglob("*.hea")))
    for stage, name in (
        ("student", "model.safetensors"), ("student", "scaler.json"), ("evaluation", "reading_card.safetensors"),
    ):  # fmt: skip
        artefact = copied.job.store.get(str(copied.artefacts[stage]))
        undo = flip(artefact.folder / name, 1)
        for words in (
            ("predict", file, "--json"), ("embed", file, "--parquet", str(tmp_path / "x.parquet")), ("search", file),
        ):  # fmt: skip
            done = call(*words, **place)
            assert (done.returncode, done.stdout) == (2, ""), done
            assert done.stderr.splitlines()[-1].startswith(f"error: {artefact}: {name} is damaged"), done.stderr
            assert "Traceback" not in done.stderr
        undo()


def test_stages_and_searches_refuse_damaged_inputs(copied: Run) -> None:
    job = make_job(copied.job.recipe, str(copied.job.export), str(copied.job.workspace.root), start_from="evaluation")
    listed = copied.job.store.get(str(copied.artefacts["pairs"]))
    flip(listed.folder / "ecg_echo.parquet", 2)
    with pytest.raises(DamagedError, match=rf"{listed}: ecg_echo\.parquet is damaged"):
        run_stages(job)
    with pytest.raises(DamagedError, match=rf"{listed}: ecg_echo\.parquet is damaged"):
        _ = Cohort(copied.job.store, find_student(copied.job.store, "")).studies_of(["nobody"])
    judged = copied.job.store.get(str(copied.artefacts["evaluation"]))
    flip(judged.folder / "metrics.parquet", 3)
    with pytest.raises(DamagedError, match=rf"{judged}: metrics\.parquet is damaged"):
        rebuild_report(copied.job.store, str(judged), copied.job.workspace.root / "out")


def pool_reads(run: Run) -> None:
    """Reads all that stages read of the pools."""
    for artefact in (run.artefacts["ecg"], run.artefacts["teacher"]):
        assert artefact.manifest.run.pool is not None
        group = Pool.read(run.job.workspace, artefact.manifest.run.pool)
        rows_by_key(group)
        for contract in (ecg if artefact.stage == "ecg" else teacher).ARRAYS:
            read_rows(array_of(group, contract))
    signals = PoolSignals(run.job.workspace, run.artefacts["ecg"])
    signals.read(np.arange(len(signals)))


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_one_bit_in_any_file_of_a_pool_is_refused_or_never_read(copied: Run, every: int) -> None:
    """A chunk carries a checksum; the seal holds those of all other files."""
    sound = Run(copied.job, {one.stage: one for one in copied.job.store.here()}, {})
    shown = pool_values(sound)
    files = sorted(path for path in copied.job.workspace.pools.rglob("*") if path.is_file())
    for number, path in enumerate(files[::every]):
        if path.suffix == ".lock":
            continue
        undo, fault = flip(path, number), None
        try:
            pool_reads(sound)
        except UserError as caught:
            fault = str(caught)
        if fault is None:
            assert pool_values(sound) == shown, f"{path} was read"
        else:
            assert "\n" not in fault
            assert "run again with --from" in fault
        undo()


def pool_values(run: Run) -> list[bytes]:
    values = []
    for stage, contracts in (("ecg", ecg.ARRAYS), ("teacher", teacher.ARRAYS)):
        pool = run.artefacts[stage].manifest.run.pool
        assert pool is not None
        group = Pool.read(run.job.workspace, pool)
        values += [read_rows(array_of(group, contract)).tobytes() for contract in contracts]
    return values


def test_verify_counts_a_damaged_manifest_among_the_faults(copied: Run) -> None:
    artefact = copied.job.store.get(str(copied.artefacts["student"]))
    before = verify_artefacts(copied.job.store, [], False, lambda *_: None)
    (artefact.folder / "manifest.json").write_bytes(b"")
    found = verify_artefacts(copied.job.store, [], False, lambda *_: None)
    assert found.keys() == before.keys()
    changed = {name for name, faults in found.items() if faults != before[name]}
    assert changed == {str(artefact), str(copied.artefacts["evaluation"])}, "and what was made of it"
    assert "manifest.json is damaged" in found[str(artefact)][0]
