"""Teaching a small teacher: from a catalogued export to a folder that `teacher.model: local-dir:` takes."""

import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from data_contracts.catalog import ECHOES
from echoingecg.common import Progress, StoreError, UserError
from echoingecg.recipe.stages import SplitShares
from tasks.base.progress import Reporter
from tasks.base.workspace import writing_to
from tasks.ingest.ingest import source_files
from tasks.store.artefact import Artefact
from tasks.store.job import Job


@task(name="teaching", task_run_name="teaching", cache_policy=NO_CACHE, persist_result=False)
def teaching(job: Job, catalog: Artefact, folder: str) -> State:
    """Teaches, measures on held-out patients, and puts the folder in place when all of it is there."""
    try:
        message = teach_into(Path(folder), job, catalog, Reporter("teaching"))
    except UserError as fault:
        return Failed(message=str(fault), data=fault)
    return Completed(message=f"{folder}: {message}", data=message)


def teach_into(folder: Path, job: Job, catalog: Artefact, progress: Progress) -> str:
    """Writes weights, configuration and model card; returns what was measured, in words.

    Args:
        folder: receives the files; files of the same names are replaced.
        job: recipe with a teaching section, export, workspace.
        catalog: of that export.
        progress: told files read, then steps done.

    Raises:
        UserError: too few studies, a loss that is not finite, a disk that is full.
    """
    from echoingecg.pairs.split import assign_split  # torch and pandas: not for a cached run
    from echoingecg.recipe import TeacherSettings
    from echoingecg.teacher.demo_training.evaluate_and_save import evaluate, save_card, save_teacher
    from echoingecg.teacher.demo_training.examples import load_examples
    from echoingecg.teacher.demo_training.train import train_teacher
    from echoingecg.teacher.identity import demo_config
    from echoingecg.teacher.model import load_teacher
    from tasks.base.workers import device

    recipe, config = job.recipe, demo_config()
    assert recipe.teaching is not None
    paths = source_files(job, ECHOES.read(catalog.folder)).paths()
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    try:
        examples = load_examples(catalog.folder, paths, recipe, size, progress)
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    shares = SplitShares(train=1 - recipe.teaching.held_out, validation=0.0, test=recipe.teaching.held_out)
    sides = [assign_split(str(patient), recipe.pairs.split_key, shares) for patient in examples.patient]
    known = examples.select([index for index, side in enumerate(sides) if side == "train"])
    unseen = examples.select([index for index, side in enumerate(sides) if side == "test"])
    where = device(recipe.execution)
    model = train_teacher(known, config, recipe, where, progress)
    beside = folder.with_name(folder.name + ".partial")
    with writing_to(folder):
        shutil.rmtree(beside, ignore_errors=True)
        save_teacher(beside, model, config)
        evaluation = evaluate(load_teacher(TeacherSettings(model=f"local-dir:{beside}"), where), unseen)
        save_card(beside, model, config, recipe, known, evaluation)
        folder.mkdir(parents=True, exist_ok=True)
        for file in beside.iterdir():
            file.replace(folder / file.name)
        beside.rmdir()
    return f"LVEF by ranked prompts within {evaluation.mae:.1f} points on {evaluation.studies} unseen studies"
