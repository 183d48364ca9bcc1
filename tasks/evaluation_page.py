"""A look at an evaluation in Prefect: its figures, small. The report holds them in full."""

import base64
import io

from prefect.artifacts import create_markdown_artifact

from data_contracts.evaluation import FIGURES
from tasks.store.artefacts import Artefact
from tasks.workspace import Workspace

_SIDE = 560  # pixels of the longer side
_COLOURS = 32  # lines and text need no more: 10 to 15 kB a figure
_MOST = 400_000  # characters in all: Prefect keeps them in its database


def show(workspace: Workspace, artefact: Artefact) -> None:
    """Publishes the figures to Prefect, in the order of their names, as far as they fit. Needs a run."""
    lines: list[str] = []
    for path in sorted((artefact.folder / FIGURES).glob("*.png")):
        line = f"![{path.stem}](data:image/png;base64,{base64.b64encode(_small(path.read_bytes())).decode('ascii')})"
        if sum(map(len, lines)) + len(line) > _MOST:
            lines.append("The other figures are in the report.")
            break
        lines.append(line)
    if lines:
        create_markdown_artifact("\n\n".join(lines), key="evaluation-figures", description=f"{artefact}: figures")


def _small(png: bytes) -> bytes:
    from PIL import Image  # not for a cached run

    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        flat = image.convert("RGB")
    flat.thumbnail((_SIDE, _SIDE))
    flat.quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()
