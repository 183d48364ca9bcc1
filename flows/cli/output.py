"""What the command line prints: artefacts, the end of a run, drift, readings of ECGs, a progress line.

Paths and names are printed as text: a folder may be called `[old]`, which rich would read as markup.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import console, progress
from rich.table import Table

from data_contracts import conventions, evaluation, evaluation_details, quarantine
from data_contracts.manifest import checked_file
from echoingecg.common import Progress
from echoingecg.common.running import check_stop
from flows.cli.options import shown as as_text
from tasks.store import Artefact, ArtefactStore, Job, results_of

if TYPE_CHECKING:  # each loads SciPy, Prefect or torch: a list of artefacts must not wait for them
    from echoingecg.prediction.predictor import Predicted
    from tasks.operations.drift import DriftResult
    from tasks.operations.evaluate import JudgedCohort

_MAX_FILES_SHOWN = 50  # of more files only counts are printed
_console = console.Console(soft_wrap=True, markup=False, emoji=False)


def print_run(artefacts: Mapping[conventions.Stage, Artefact]) -> None:
    """Prints the artefacts of a finished run, and the report's path on the last line."""
    _console.print(_table("run", artefacts.values()))
    if "evaluation" in artefacts:
        print(checked_file(artefacts["evaluation"].folder, evaluation.REPORT))  # noqa: T201 - plain, so that scripts can read it


_JUDGED = ("auroc", "balanced_accuracy", "answered_share", "prevalence", "calibration_slope", "calibration_intercept")


def print_judged(judged: "JudgedCohort") -> None:
    """Prints how a student does on a cohort: the card's own protocol, with 95 % intervals; then where the report is."""
    from echoingecg.evaluation.decision.reading_card import LoadedReadingCard

    card = LoadedReadingCard.load(judged.folder).card
    rows = [
        row
        for contract in (evaluation.METRICS, evaluation_details.TRANSFER)
        for row in contract.read(judged.folder).to_pylist()
        if row["protocol"] == card.answered_by and row.get("group", "all") == "all"
    ]
    table = Table("endpoint", *_JUDGED, title=f"{judged.counts['test_ecgs']} test ECGs, {card.answered_by}")
    for endpoint in dict.fromkeys(row["endpoint"] for row in rows):
        values = {row["metric"]: row for row in rows if row["endpoint"] == endpoint and row.get("at") is None}
        table.add_row(endpoint, *(_with_interval(values.get(name)) for name in _JUDGED))
    _console.print(table)
    if judged.artefact is not None:
        _console.print(f"published: {judged.artefact}, with a new card")
    print(checked_file(judged.folder, evaluation.REPORT))  # noqa: T201 - plain, so that scripts can read it


def _with_interval(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return ""
    interval = "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"
    return f"{row['value']:.2f}{interval}"


def print_comparison(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints several students by endpoint: metrics, and below them the difference from the first, with 95 % intervals.

    Args:
        rows: of echoingecg.evaluation.compare.compare_any.
    """
    from echoingecg.evaluation.report.wording import METRIC_NAMES

    metrics = [name for name in ("auroc", "balanced_accuracy") if any(row["metric"] == name for row in rows)]
    table = Table("student", *(METRIC_NAMES[name] for name in metrics), title_justify="left")
    for endpoint, of_endpoint in groupby(rows, key=lambda row: row["endpoint"]):
        cells: dict[str, list[str]] = {}
        for row in of_endpoint:
            if row["metric"] in metrics:
                line = _with_interval(row)
                if row["difference"] is not None:
                    span = (
                        "no interval"
                        if row["difference_low"] is None
                        else (f"{row['difference_low']:+.2f} to {row['difference_high']:+.2f}")
                    )
                    line += f"\n{row['difference']:+.2f} ({span})"
                cells.setdefault(row["student"], []).append(line)
        left_out = f", {row['changed']} left out: their labels differ" if row["changed"] else ""
        counts = f"{row['records']} ECGs of {row['patients']} patients, {row['positives']} positive{left_out}"
        table.add_row(f"{as_text(endpoint)}\n{counts}")
        for student, lines in cells.items():
            table.add_row(f"  {as_text(student)}", *lines)
        table.add_section()
    _console.print(table)


def print_drift(result: "DriftResult") -> None:
    """Prints every measure with its sizes, the verdict, and the paths of both files on the last lines."""
    columns = ("measure", "trained", "new", "difference (95 %)", "limit", "ECGs", "patients", "")
    table = Table(*columns, title=f"{result.drift.student}, {result.drift.evaluation}", title_justify="left")
    for row in result.table.to_pylist():
        of_embedding = row["measure"] == "embedding"
        spread = f"p {row['p']:.3f}" if of_embedding else "one patient"
        if row["low"] is not None:
            spread = f"{row['low']:+.3f} to {row['high']:+.3f}"
        table.add_row(
            f"{row['measure']} {row['name']}",
            *("" if of_embedding else f"{row[f'{side}_value']:.3f}" for side in ("reference", "compared")),
            f"{row['value']:+.3f} ({spread})",
            f"{row['limit']:g}",
            *(f"{row[f'reference_{what}']:,} / {row[f'compared_{what}']:,}" for what in ("records", "patients")),
            "drifted" if row["drifted"] else "",
        )
    _console.print(table)
    _console.print(f"{result.drift.verdict}: {result.drift.says}")
    for path in result.files:
        print(path)  # noqa: T201


def print_status(job: Job) -> None:
    """Prints the versions that a recipe leads to, stage by stage, published or not."""
    from tasks.all_stages import plans

    table = Table("stage", "version", "state", "counts", title=f"{job.workspace.root}", title_justify="left")
    if not job.export.is_dir():
        _console.print(f"export {job.export} is not there yet: nothing has run")
        return
    for plan in plans(job):
        artefact = job.store.seen(plan.stage, plan.version)
        state = f"{'published' if artefact.is_here else 'shared'} {_minute(artefact)}" if artefact else "missing"
        if artefact is None and job.workspace.scratch(plan.stage, plan.version).is_dir():
            state = "begun: a run would go on from its checkpoint"
        table.add_row(plan.stage, plan.version, state, _counts(artefact) if artefact else "")
    _console.print(table)


def print_artefacts(store: ArtefactStore) -> None:
    """Prints every artefact, where it is if the workspace shares any, then the aliases."""
    shared = {(manifest.stage, manifest.version) for manifest in store.shared.manifests()} if store.shared else None
    title = f"{store.workspace.root}{f', sharing {store.shared}' if store.shared else ''}"
    _console.print(_table(title, store.published(), shared))
    for name, target in store.aliases().items():
        _console.print(f"{name} -> {target}")


def print_artefact(store: ArtefactStore, name: str) -> None:
    """Prints the manifest, then the quarantine rows with the paths that this workspace's private index knows."""
    artefact = store.named(name)
    _console.print_json(artefact.manifest.model_dump_json())
    _console.print(str(artefact.folder) if artefact.is_here else f"in {store.shared}, not in this workspace yet")
    if quarantine.QUARANTINE.filename not in artefact.manifest.files:
        return
    artefact = store.get(str(artefact))
    paths = _private_paths(store)
    for row in quarantine.QUARANTINE.read(artefact.folder).to_pylist():  # lines, not a table: a path must stay whole
        file = paths.get(row["source_id"], row["source_id"])
        print(f"refused {file}: {row['reason']}: {row['detail']}")  # noqa: T201


def _private_paths(store: ArtefactStore) -> dict[str, str]:
    from tasks.store import read_private

    paths: dict[str, str] = {}
    private = store.workspace.private
    for index in sorted([*private.glob("sources-*.parquet"), *private.glob("rows-*.parquet")]):
        if (table := read_private(index)) is not None:
            paths |= dict(zip(table["source_id"].to_pylist(), table["path"].to_pylist(), strict=True))
    return paths


def _table(
    title: str, artefacts: Iterable[Artefact], shared: set[tuple[conventions.Stage, str]] | None = None
) -> Table:
    """A table of artefacts. `shared`: what the shared store holds; None for a workspace without one."""
    table = Table(title=title, title_justify="left")
    table.add_column("artefact", no_wrap=True)  # a name that can be copied
    table.add_column("made", no_wrap=True)
    table.add_column("new files", justify="right")
    table.add_column("counts, results")
    if shared is not None:
        table.add_column("where")
    for artefact in artefacts:
        run = artefact.manifest.run
        new = "" if run.new_keys is None else str(run.new_keys)
        where = [] if shared is None else [_where(artefact, (artefact.stage, artefact.version) in shared)]
        lines = [_counts(artefact), *(f"{name}: {value}" for name, value in results_of(artefact).items())]
        made = f"{_minute(artefact)}\nin {run.seconds:.1f} s"
        table.add_row(str(artefact), made, new, "\n".join(lines), *where)
    return table


def _where(artefact: Artefact, shared: bool) -> str:
    return " and ".join(place for place, there in (("here", artefact.is_here), ("shared", shared)) if there)


def _minute(artefact: Artefact) -> str:
    return artefact.manifest.run.finished[:16].replace("T", " ")


def _counts(artefact: Artefact) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in artefact.manifest.counts.items())


@contextmanager
def progress_line(what: str) -> Iterator[Progress]:
    """A progress bar on the terminal, as a listener for long work."""
    columns = (
        progress.TextColumn(what, markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    terminal = console.Console(stderr=True)
    with progress.Progress(*columns, console=terminal, disable=not terminal.is_terminal) as bar:
        line = bar.add_task(what, total=None)

        def listen(done: int, total: int, note: str = "") -> None:
            check_stop()
            bar.update(line, completed=done, total=total)

        yield listen


def print_readings(blocks: Iterable["Predicted"], files: Sequence[str], title: str) -> None:
    """Prints every answer and number for a few files; for many, how many ECGs had which answer."""
    import pyarrow.compute as pc

    if len(files) > _MAX_FILES_SHOWN:
        print_counts(blocks, title)
        _console.print("--parquet or --json gives every ECG")
        return
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])  # noqa: PTH100, PTH120
    questions = Table(title=f"{title}\nfiles in {as_text(folder)}", title_justify="left")
    questions.add_column("file\n  endpoint", overflow="fold", min_width=20)
    for name in ("probability\n(90 % interval)", "uncer-\ntainty"):
        questions.add_column(name, no_wrap=True)
    questions.add_column("reads, advice")
    numbers = Table()
    numbers.add_column("file\n  number", overflow="fold", min_width=20)
    numbers.add_column("value\n(90 % interval)", no_wrap=True)
    numbers.add_column("advice")
    for block in blocks:
        read = block.numbers.filter(pc.is_null(block.numbers["reason"])) if block.readings.num_rows else block.numbers
        for table, line, target in ((block.readings, _line, questions), (read, _number_line, numbers)):
            for file, of_file in groupby(table.to_pylist(), key=lambda row: row["file"]):
                for cells in _cells(as_text(os.path.relpath(file, folder)), list(of_file), line):
                    target.add_row(*cells)
                target.add_section()
    for table in (questions, numbers):
        if table.row_count:
            _console.print(table)


def print_counts(blocks: Iterable["Predicted"], title: str) -> None:
    """Prints how many ECGs had which answer, and how many files were refused."""
    from echoingecg.prediction.files import ReadingCounts

    tally = ReadingCounts()
    for block in blocks:
        tally.add(block)
    counts = Table("endpoint", "reads", "advice", title=title, title_justify="left")
    counts.add_column("ECGs", justify="right")
    for (name, reads, advice), count in sorted(tally.answers.items()):
        counts.add_row(name, reads, advice, f"{count:,}")
    for reason, count in tally.refusals.most_common():
        counts.add_row("refused", reason, "", f"{count:,}")
    _console.print(counts)


def print_stress(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Prints the shares answered and answered wrongly at each step of each disturbance, in per cent.

    Args:
        rows: of evaluation_details.STRESS, of one question.
        title: above the table.
    """
    shown = Table("disturbance", title=title, title_justify="left", caption="answered (wrong), % of all ECGs")
    for step in range(1 + max(row["step"] for row in rows)):
        shown.add_column(str(step), justify="right", no_wrap=True)
    undisturbed = [row for row in rows if row["step"] == 0]
    for name, of_kind in groupby((row for row in rows if row["step"]), key=lambda row: row["disturbance"]):
        shown.add_row(
            name, *(f"{100 * row['answered']:.0f} ({100 * row['wrong']:.0f})" for row in [*undisturbed, *of_kind])
        )
    _console.print(shown)


def _cells(
    name: str, rows: list[dict[str, Any]], line: Callable[[dict[str, Any]], tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """A line for the file and one for each question or number, or for the refusal."""
    first = rows[0]
    if first["reason"]:
        yield (name,)
        yield (f"  refused, {first['reason']}: {first['detail']}",)
        return
    yield (f"{name} ({', '.join(first['findings'])})" if first["findings"] else name,)
    yield from map(line, rows)


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    percentile, probability = row["uncertainty_percentile"], row["probability"]
    value = f"score {row['score']:.3f}" if probability is None else f"{probability:.3f}"
    if row["low"] is not None:
        value += f" ({row['low']:.3f}–{row['high']:.3f})"
    return (
        f"  {row['endpoint']}",
        value,
        "" if percentile is None else f"{percentile:.0f} %",
        _advice(row) if row["decision"] is None else f"{'positive' if row['decision'] else 'negative'}, {_advice(row)}",
    )


def _number_line(row: dict[str, Any]) -> tuple[str, ...]:
    value = f"{row['value']:.3g} {row['unit']} ({row['low']:.3g}–{row['high']:.3g})"
    return f"  {row['number']}", value, _advice(row)


def _advice(row: dict[str, Any]) -> str:
    return row["advice"] + (f": {', '.join(row['doubts'])}" if row["doubts"] else "")
