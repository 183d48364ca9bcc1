"""A published artefact that a test has changed on purpose, made consistent again."""

import json
from pathlib import Path
from typing import Any

from data_contracts.manifest import FILENAME, Manifest, checksum_of, content_of
from tasks.store import Plan


def republish(folder: Path, **changes: Any) -> Manifest:
    """Writes the manifest that follows from the files as they are, and from changes to its own fields.

    The version stays unless it is among the changes.
    """
    values = json.loads((folder / FILENAME).read_text()) | changes
    names = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != FILENAME]
    files = {str(path.relative_to(folder)): checksum_of(path) for path in names}
    manifest = (
        Manifest.model_validate(values).model_copy(update={"files": files, "content": content_of(files)}).sealed()
    )
    (folder / FILENAME).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def version_of(manifest: Manifest, **changes: Any) -> str:
    """The version that follows from the manifest's causes, some of them changed."""
    causes = {name: getattr(manifest, name) for name in Plan.__dataclass_fields__}
    return Plan(**causes | changes).version
