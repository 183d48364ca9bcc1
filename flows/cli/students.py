"""Commands on students: predict, stress, embed, search, compare, sweep, promote, rollback, exports, imports."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.conventions import UserError
from flows.cli import options
from flows.cli.options import open_store


def predict(
    files: options.EcgFiles,
    student: options.Student = "",
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol", help="expected_echo, zero_shot, zero_shot_teacher or linear_probe; default: the recipe's."
        ),
    ] = "",
    recipe: Annotated[
        str, typer.Option("--recipe", help="Whose questions a student without a reading card is asked.")
    ] = "paper",
    workspace: options.Workspace = "workspace",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write a Parquet file.")] = None,
    unit: options.Unit = "",
    sampling_frequency: options.SamplingFrequency = 0.0,
    leads: options.Leads = "",
) -> None:
    """Read echo findings and numbers off ECGs, with intervals: predict or refer. Not for clinical use."""
    from data_contracts.prediction import NOTICE
    from echoingecg.prediction.files import ReadingCounts, list_ecgs, numbers_path, write_json, write_predicted
    from flows.cli.output import print_counts, print_readings, progress_line
    from flows.request import find_recipe
    from tasks.base.workspace import writing_to
    from tasks.operations.students import StudentAlone, find_reader, predict_files, title

    if as_json and parquet:
        raise UserError("--json and --parquet exclude each other")
    stated = options.stated(unit, sampling_frequency, leads)
    for path in (parquet, numbers_path(parquet)) if parquet else ():
        options.check_output(path, "Parquet", workspace)
    model, ecgs = find_reader(open_store(workspace), student), list_ecgs(files)
    questions = find_recipe(recipe, []).evaluation.endpoints if isinstance(model, StudentAlone) else ()
    options.say(NOTICE, err=True)
    tally = ReadingCounts()
    with progress_line("ECGs") as progress:
        predicted = predict_files(model, ecgs, protocol, progress=progress, stated=stated, questions=questions)
        blocks = tally.counted(predicted)
        if as_json:
            about = {"student": str(model.student), "evaluation": str(model.evaluation or ""), "note": title(model)}
            write_json(blocks, about, sys.stdout)
        elif parquet:
            with_numbers = bool(model.reader().card.numbers)
            with writing_to(parquet.parent):
                print_counts(write_predicted(blocks, parquet, with_numbers), title(model))
            options.say(parquet)
            if with_numbers:
                options.say(numbers_path(parquet))
        else:
            print_readings(blocks, ecgs, title(model))
    tally.check_some_read(len(ecgs))


def stress(
    student: Annotated[str, typer.Argument(help="Student or evaluation; default: the alias production.")] = "",
    protocol: Annotated[str, typer.Option("--protocol", help="How scores are computed; default: the recipe's.")] = "",
    endpoint: Annotated[str, typer.Option("--endpoint", help="Question to show; default: the recipe's first.")] = "",
    workspace: options.Workspace = "workspace",
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write all questions as Parquet.")] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Write the figure as PNG.")] = None,
) -> None:
    """Disturb the test ECGs at five levels of ten kinds: which share is still answered, and which wrongly."""
    from data_contracts.evaluation_details import STRESS
    from echoingecg.common import figure_style, replace_atomically
    from echoingecg.evaluation.report.run_figures import stress as draw
    from echoingecg.prediction.files import write_parquet
    from flows.cli.output import print_stress, progress_line
    from tasks.base.workspace import writing_to
    from tasks.operations.students import find_student
    from tasks.operations.students import stress as disturb
    from tasks.store import leases

    for path, kind in ((parquet, "Parquet"), (figure, "PNG")):
        if path:
            options.check_output(path, kind, workspace)
    store = open_store(workspace)
    with leases.held(store.workspace), progress_line("levels") as progress:
        judged = find_student(store, student)
        table = disturb(store, judged, protocol, progress)
    endpoints = table["endpoint"].unique().to_pylist()
    chosen = endpoint or endpoints[0]
    if chosen not in endpoints:
        raise UserError(f"no question '{endpoint}': this evaluation knows {', '.join(endpoints)}")
    rows = [row for row in table.to_pylist() if row["endpoint"] == chosen]
    print_stress(rows, f"{judged}\n{chosen}, {rows[0]['protocol']}, {rows[0]['ecgs']:,} test ECGs")
    if parquet:
        with writing_to(parquet.parent):
            list(write_parquet(STRESS, [table], parquet))
        options.say(parquet)
    if figure:
        with writing_to(figure.parent), figure_style.styled(), replace_atomically(figure) as beside:
            beside.write_bytes(figure_style.png(draw(chosen, rows)))
        options.say(figure)


def embed(
    files: options.EcgFiles,
    parquet: Annotated[Path, typer.Option("--parquet", help="Parquet file to write.")],
    student: options.Student = "",
    workspace: options.Workspace = "workspace",
) -> None:
    """Write the Gaussians of ECGs, mean and log-variance, as Parquet."""
    from data_contracts.prediction import GAUSSIANS
    from echoingecg.prediction.files import check_some_read, list_ecgs, write_parquet
    from flows.cli.output import progress_line
    from tasks.base.workspace import writing_to
    from tasks.operations.students import embed_files, find_reader

    options.check_output(parquet, "Parquet", workspace)
    model, ecgs = find_reader(open_store(workspace), student), list_ecgs(files)
    with progress_line("ECGs") as progress, writing_to(parquet.parent):
        refused = 0
        for table in write_parquet(GAUSSIANS, embed_files(model, ecgs, progress), parquet):
            refused += table.num_rows - table["reason"].null_count
    options.say(f"{len(ecgs) - refused} ECGs embedded, {refused} files refused", err=True)
    options.say(parquet)
    check_some_read(len(ecgs) - refused, len(ecgs))


def search(
    file: Annotated[str, typer.Argument(help="An ECG file: finds echo studies.")] = "",
    study: Annotated[str, typer.Option("--study", help="Pseudonym of an echo study: finds ECGs.")] = "",
    text: Annotated[str, typer.Option("--text", help="A sentence about an echo: finds ECGs.")] = "",
    k: Annotated[int, typer.Option("--k", min=1, help="How many to find.")] = 10,
    student: options.Student = "",
    cohort: Annotated[
        str, typer.Option("--cohort", help="An ecg artefact whose ECGs are searched; default: the student's own.")
    ] = "",
    workspace: options.Workspace = "workspace",
) -> None:
    """Nearest echo studies of the cohort, or nearest ECGs. Prints distances, pseudonyms and echo reports."""
    from data_contracts.prediction import NOTICE
    from flows.cli.output import progress_line
    from tasks.operations.search import Cohort, ecgs_like, hits_like
    from tasks.operations.students import find_reader
    from tasks.store import leases

    if sum(map(bool, (file, study, text))) != 1:
        raise UserError("search: give one of FILE, --study and --text")
    store = open_store(workspace)
    with leases.held(store.workspace), progress_line("ECGs") as progress:
        searched = Cohort(store, find_reader(store, student), progress, cohort)
        if file:
            hits = hits_like(searched, file, k)
        else:
            hits = ecgs_like(searched, searched.study(study) if study else searched.sentence(text), k)
    options.say(NOTICE, err=True)
    if not searched.has_studies:
        reason = "" if cohort else ": the echo studies of this student's teacher are not known"
        options.say(f"nearest ECGs of {searched.signals}{reason}", err=True)
    for hit in hits:
        options.say(f"{hit.distance:.4f}  {hit.name}  {hit.report}".rstrip())


def promote(
    challenger: options.Name,
    over: Annotated[str, typer.Option("--over", help="Alias that names the champion; made if it is not there.")],
    workspace: options.Workspace = "workspace",
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose promotion section is the rule.")] = "demo",
    overrides: Annotated[
        list[str], typer.Option("--set", help="Replace a field: promotion.least_gain=0.01. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Compare two students on the same test patients, and move the alias if the recipe's rule says so."""
    from flows.request import find_recipe
    from tasks.operations.retrain import promote as decide

    decision, path = decide(open_store(workspace), challenger, over, find_recipe(recipe, overrides).promotion)
    for endpoint in decision.compared:
        if endpoint.gain is not None and endpoint.low is not None:
            typer.echo(
                f"{endpoint.endpoint}: {decision.rule['metric']} {endpoint.champion:.3f} to {endpoint.challenger:.3f}, "
                f"gain {endpoint.gain:+.3f} ({endpoint.low:+.3f} to {endpoint.high:+.3f}); {endpoint.records} ECGs of "
                f"{endpoint.patients} patients, {endpoint.positives} positive"
            )
    for labels in decision.labels:
        if labels.vanished or labels.changed:
            typer.echo(
                f"{labels.endpoint}: compared on {labels.shared} of the champion's {labels.champion} test labels; "
                f"{labels.changed} have changed, {labels.vanished} vanished (of {labels.absent_patients} patients who "
                f"are not tested any more, and of other ECGs), {labels.added} are new"
            )
    typer.echo(f"{decision.verdict}: {decision.says}")
    typer.echo(path)
    if decision.verdict == "frozen":
        raise UserError(f"{over} is frozen: {decision.says}")


def compare(
    names: Annotated[
        list[str], typer.Argument(help="Two or more students or evaluations; the first is compared with.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Page to write: PAGE.html, or PAGE.md with PAGE.png.")
    ] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="How scores are computed.")] = "zero_shot",
    workspace: options.Workspace = "workspace",
) -> None:
    """Compare two or more students on the test labels that they share: metrics, paired differences, a figure."""
    from echoingecg.common import replace_atomically
    from echoingecg.recipe import PromotionSettings
    from flows.cli.output import print_comparison
    from tasks.base.workspace import writing_to
    from tasks.operations.students import compare as of_students

    as_markdown = output is not None and output.suffix == ".md"
    if output is not None and output.suffix not in {".html", ".md"}:
        raise UserError(f"{output}: the page is .html or .md")
    drawing = output.with_suffix(".png") if output is not None and as_markdown else None
    for path, kind in ((output, f"comparison as {'Markdown' if as_markdown else 'HTML'}"), (drawing, "PNG")):
        if path:
            options.check_output(path, kind, workspace)
    compared = of_students(open_store(workspace), names, PromotionSettings(protocol=protocol))
    print_comparison(compared.rows)
    if output is None:
        return
    with writing_to(output.parent):
        if drawing:
            with replace_atomically(drawing) as beside:
                beside.write_bytes(compared.figure())
        with replace_atomically(output) as beside:
            beside.write_text(compared.page(drawing.name if drawing else "", as_markdown), encoding="utf-8")
    options.say(output)


def sweep(
    recipe: options.Recipe,
    over: Annotated[list[str], typer.Option("--over", help="FIELD=VALUE,VALUE,... Repeatable: every combination.")],
    export: options.Exports = [],  # noqa: B006
    output: Annotated[Path | None, typer.Option("--output", "-o", help="As of `compare`.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="How scores are computed.")] = "zero_shot",
    workspace: options.Workspace = "workspace",
    public_data: options.PublicData = False,
    overrides: options.Overrides = [],  # noqa: B006
) -> None:
    """Run a recipe with every combination of some fields' values, one after another, and compare the students."""
    from echoingecg.recipe import combinations
    from flows.request import find_recipe, make_job
    from tasks.all_stages import plans

    chosen = list(dict.fromkeys(combinations(over)))  # a value that is typed twice runs once
    first, more = options.split(export)
    # Every recipe is checked before the first run.
    recipes = {" ".join(assigned): find_recipe(recipe, [*overrides, *assigned]) for assigned in chosen}
    names: list[str] = []
    for (title, whole), assigned in zip(recipes.items(), chosen, strict=True):
        options.say(f"{len(names) + 1} of {len(recipes)}: {title}", err=True)
        settings = [part for text in [*overrides, *assigned] for part in ("--set", text)]
        places = [part for path in export for part in ("--export", path)] + ["--workspace", workspace]
        command = [sys.executable, "-m", "flows.cli.main", "run", recipe, *places, *settings]
        ended = subprocess.run([*command, *(["--public-data"] if public_data else [])], check=False).returncode
        if ended:
            raise typer.Exit(ended)
        job = make_job(whole, first, workspace, more_exports=more, public_data=public_data)
        names.append(next(f"{plan.stage}-{plan.version}" for plan in plans(job) if plan.stage == "evaluation"))
    for name, title in zip(names, recipes, strict=True):
        options.say(f"{name}: {title}")
    if len(set(names)) > 1:
        compare(list(dict.fromkeys(names)), output, protocol, workspace)


def rollback(
    alias: Annotated[str, typer.Argument(help="Alias that is put back, such as production.")],
    workspace: options.Workspace = "workspace",
    why: options.Why = "",
) -> None:
    """Point an alias at what it named before."""
    from tasks.operations.retrain import roll_back

    left, target = roll_back(open_store(workspace), alias, why)
    typer.echo(f"{alias} -> {target} (was {left})")


def import_released(
    weights: Annotated[Path, typer.Argument(help="echoingecg.pt, or safetensors, in the released layout.")],
    scaler: Annotated[Path, typer.Argument(help="ecg_scaler.pkl, or ecg_scaler.json of an export.")],
    workspace: options.Workspace = "workspace",
    text: Annotated[
        str, typer.Option("--text", help="Text model whose tokenizer to take: a folder, or a name in the local cache.")
    ] = "dmis-lab/biobert-v1.1",
    text_config: Annotated[
        Path | None,
        typer.Option("--text-config", help="Its config.json; default: the one beside the weights, or BERT-base."),
    ] = None,
) -> None:
    """Turn released weights into a student artefact. Downloads nothing, runs nothing that the files hold."""
    from tasks.student import ReleasedFiles
    from tasks.student import import_released as make

    artefact = make(open_store(workspace, "nothing"), ReleasedFiles(weights, scaler, text, text_config))
    recipe = artefact.manifest.recipe
    options.say(
        f"{artefact.manifest.counts['tensors']} tensors; the released layout holds no scale and shift of the match "
        f"logit: the published starts, {recipe['scale_start']:g} and {recipe['shift_start']:g}, stand in",
        err=True,
    )
    typer.echo(artefact)


def export_released(
    student: options.Name,
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    workspace: options.Workspace = "workspace",
) -> None:
    """Write a student in the released layout: safetensors and JSON, no pickle."""
    from tasks.student import export_released as export

    for path in export(open_store(workspace), student, folder):
        options.say(path)


def export_hub(
    student: options.Name,
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    licence: Annotated[str, typer.Option("--licence", help="Of the weights, in the hub's short form: cc-by-nc-4.0.")],
    workspace: options.Workspace = "workspace",
    push: Annotated[str, typer.Option("--push", help="OWNER/NAME to upload it to; needs HF_TOKEN.")] = "",
    public: Annotated[bool, typer.Option("--public", help="With --push: a repository that everybody sees.")] = False,
) -> None:
    """Write a student, its reading card and a model card as Hugging Face's hub takes them; upload if told to."""
    from echoingecg import load
    from echoingecg.prediction import hub

    model = load(student, workspace=workspace)
    if push:
        options.say(hub.push_to_hub(model, push, licence=licence, private=not public, folder=folder))
        return
    for path in hub.export_hub(model, folder, name=folder.resolve().name, licence=licence):
        options.say(path)


def export_onnx(
    student: options.Name,
    file: Annotated[Path, typer.Argument(help="New file, FILE.onnx.")],
    workspace: options.Workspace = "workspace",
) -> None:
    """Write a student's ECG encoder as ONNX: filtered signals in mV in, mean, log-variance and features out."""
    from echoingecg import load
    from echoingecg.student.onnx import export_onnx as export

    options.check_output(file, "ONNX", workspace)
    export(load(student, workspace=workspace).reader.student, file)
    options.say(file)
