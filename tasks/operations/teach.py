"""Teaching a small teacher: from a catalogued export to a folder that `teacher.model: local-dir:` takes."""

import shutil
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from data_contracts.catalog import ECHOES, MEASUREMENTS, REPORTS
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
        says = teach_into(Path(folder), job, catalog, Reporter("teaching"))
    except UserError as fault:
        return Failed(message=str(fault), data=fault)
    return Completed(message=f"{folder}: {says}", data=says)


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
    from echoingecg.pairs.split import split_of  # torch and pandas: not for a cached run
    from echoingecg.recipe import TeacherSettings
    from echoingecg.teacher.demo_training.evaluate_and_save import judge, save_card, save_teacher
    from echoingecg.teacher.demo_training.examples import collect
    from echoingecg.teacher.demo_training.train import teach
    from echoingecg.teacher.identity import demo_config
    from echoingecg.teacher.model import load_teacher
    from tasks.base.workers import device

    settings = job.recipe.teaching
    assert settings is not None
    echoes = ECHOES.read(catalog.folder)
    paths = source_files(job, echoes).paths()
    reports, measurements = REPORTS.read(catalog.folder), MEASUREMENTS.read(catalog.folder)
    config = demo_config()
    size = config["model_cfg"]["vision_cfg"]["image_size"]
    try:
        mask = job.recipe.teacher.mask
        examples = collect(echoes, reports, measurements, paths, settings, job.recipe.pairs, size, progress, mask)
    except OSError as fault:
        raise StoreError(f"a file of the export cannot be read ({fault.strerror}): is it still mounted?") from fault
    shares = SplitShares(train=1 - settings.held_out, validation=0.0, test=settings.held_out)
    sides = [split_of(str(one), job.recipe.pairs.split_key, shares) for one in examples.patient]
    known = examples.select([at for at, side in enumerate(sides) if side == "train"])
    unseen = examples.select([at for at, side in enumerate(sides) if side == "test"])
    where = device(job.recipe.execution)
    model = teach(known, config, settings, job.recipe.execution, where, progress)
    beside = folder.with_name(folder.name + ".partial")
    with writing_to(folder):
        shutil.rmtree(beside, ignore_errors=True)
        save_teacher(beside, model, config)
        judged = judge(load_teacher(TeacherSettings(model=f"local-dir:{beside}"), where), unseen)
        save_card(beside, model, config, job.recipe, judged, len(known), known.frame_count)
        folder.mkdir(parents=True, exist_ok=True)
        for file in beside.iterdir():
            file.replace(folder / file.name)
        beside.rmdir()
    return f"LVEF by ranked prompts within {judged.mae:.1f} points on {judged.studies} unseen studies"
