"""Training of a small teacher on a catalogued export, into a folder that `teacher.model: local-dir:` takes."""

import shutil
from pathlib import Path

from data_contracts.catalog import ECHOES, MEASUREMENTS, REPORTS
from data_contracts.conventions import NOT_STATED
from echoingecg.common import Progress, StoreError, write_origin
from echoingecg.recipe import TeacherSettings
from echoingecg.recipe.stages import SplitShares
from tasks.base import progress, workers
from tasks.base.workspace import writing_to
from tasks.catalog import read_exact
from tasks.ingest.ingest import source_files
from tasks.store import Artefact, Job


def _teaching(job: Job, catalog: Artefact, folder: str) -> progress.Outcome:
    """Trains the teacher, measures it on held-out patients, and puts its folder in place when it is complete."""
    message = teach_into(Path(folder), job, catalog, progress.Reporter("teaching"))
    return progress.Outcome(f"{folder}: {message}", message)


teaching = progress.as_task("teaching", _teaching)


def teach_into(folder: Path, job: Job, catalog: Artefact, report: Progress) -> str:
    """Writes weights, configuration and model card; returns what was measured, as a sentence.

    Args:
        folder: receives the files; files of the same names are replaced.
        job: recipe with a teaching section, export, workspace.
        catalog: of the job's export.
        report: told the files read, then the steps done.

    Raises:
        UserError: too few studies, a loss that is not finite, a disk that is full.
    """
    from echoingecg.pairs.split import assign_split  # torch and pandas: not for a cached run
    from echoingecg.teacher.demo_training.evaluate_and_save import evaluate, save_card, save_teacher
    from echoingecg.teacher.demo_training.examples import load_examples
    from echoingecg.teacher.demo_training.train import train_teacher
    from echoingecg.teacher.networks.kind import load_teacher
    from echoingecg.teacher.networks.open_clip import demo_config

    recipe, config = job.recipe, demo_config()
    assert recipe.teaching is not None
    echoes, measurements, reports = (read_exact(job, catalog, table) for table in (ECHOES, MEASUREMENTS, REPORTS))
    paths = source_files(job, echoes).paths()
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    try:
        examples = load_examples(echoes, measurements, reports, paths, recipe, size, report)
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    shares = SplitShares(train=1 - recipe.teaching.held_out, validation=0.0, test=recipe.teaching.held_out)
    sides = [assign_split(str(patient), recipe.pairs.split_key, shares) for patient in examples.patient]
    known = examples.select([index for index, side in enumerate(sides) if side == "train"])
    unseen = examples.select([index for index, side in enumerate(sides) if side == "test"])
    where = workers.device(recipe.execution)
    model = train_teacher(known, config, recipe, where, report)
    temporary = folder.with_name(folder.name + ".partial")
    with writing_to(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        save_teacher(temporary, model, config)
        evaluation = evaluate(load_teacher(TeacherSettings(model=f"local-dir:{temporary}"), where), unseen)
        save_card(temporary, model, config, recipe, known, evaluation)
        write_origin(temporary, catalog.manifest.source.get("origin", NOT_STATED))
        folder.mkdir(parents=True, exist_ok=True)
        for file in temporary.iterdir():
            file.replace(folder / file.name)
        temporary.rmdir()
    return f"LVEF by ranked prompts within {evaluation.mae:.1f} points on {evaluation.studies} unseen studies"
