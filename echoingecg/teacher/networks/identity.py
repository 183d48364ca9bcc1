"""Identifies the teacher that a recipe names by the content of its files. Needs no torch."""

from pathlib import Path

from data_contracts.conventions import UserError
from echoingecg.common import hash_files
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.networks.kind import teacher_kind

TABLE = "table:"  # vectors that were made elsewhere
_TABLE_SUFFIXES = (".parquet", ".csv")


def teacher_identity(settings: TeacherSettings) -> dict[str, str]:
    """Identifies the teacher by the content of its files: equal identities mean equal teachers.

    Reads and hashes the weights file, or the table of vectors. For 'hf-hub:' it downloads files that are not in the
    cache yet, so that the identity is the same before and after the first run.

    Raises:
        UserError: no such model, no weights, or no network to download them.
    """
    if (table := table_file(settings)) is not None:
        return {"model": TABLE.rstrip(":"), "table": hash_files([table])}
    return teacher_kind(settings).identity()


def table_file(settings: TeacherSettings) -> Path | None:
    """Finds the table of vectors that the recipe names; None for a teacher that reads clips.

    Raises:
        UserError: there is no such file, or other settings of the teacher need the clips.
    """
    if not settings.model.startswith(TABLE):
        return None
    path = Path(settings.model.removeprefix(TABLE)).expanduser()
    if path.suffix not in _TABLE_SUFFIXES or not path.is_file():
        raise UserError(f"teacher.model '{settings.model}': no such file of a kind {', '.join(_TABLE_SUFFIXES)}")
    if settings.weights:
        raise UserError(f"teacher.weights is for an open_clip name; '{TABLE}' brings its own vectors")
    if settings.view_filter or settings.colour_doppler == "refuse":
        raise UserError(
            f"teacher.view_filter and teacher.colour_doppler look at clips, which '{TABLE}' never opens: leave their "
            "rows out of the table"
        )
    return path
