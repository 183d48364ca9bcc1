"""The cohort that a student was trained and judged on, as Gaussians to search among; by lineage alone.

Its ECGs are embedded once and kept in `scratch/student/<version>/`, where they may be deleted at any time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts import catalog, pairs, teacher
from data_contracts.conventions import Stage
from echoingecg.common.errors import StoreError, UserError
from echoingecg.common.files import replacing
from echoingecg.evaluation.data.embed import embed_ecgs
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.prediction.search import CHUNK
from echoingecg.progress import Progress, silent
from tasks.operations.predict import JudgedStudent
from tasks.pools.signals import PoolSignals
from tasks.store.artefacts import Artefact, ArtefactStore
from tasks.targets import targets_in_chunks
from tasks.workspace import writing_to

_PARTS: Final = tuple(field.name for field in fields(Gaussians))  # the mean first


@dataclass(frozen=True)
class Cohort:
    """What was known to one student.

    Attributes:
        store: holds the lineage.
        judged: the student.
        progress: told the ECGs embedded.
    """

    store: ArtefactStore
    judged: JudgedStudent
    progress: Progress = silent

    @cached_property
    def study_ids(self) -> list[str]:
        """Pseudonyms of the echo studies."""
        names: list[str] = teacher.STUDIES.read(self._above("teacher").folder)["study_id"].to_pylist()
        return names

    def studies(self) -> Iterator[Gaussians]:
        """The teacher's targets in chunks, in the order of `study_ids`."""
        yield from (Gaussians.of(*part) for part in targets_in_chunks(self._above("teacher"), CHUNK))

    def study(self, study_id: str) -> Gaussians:
        """One study. Raises UserError when the cohort has none of that pseudonym."""
        if study_id not in self.study_ids:
            raise UserError(f"no study {study_id} among the {len(self.study_ids)} of {self._above('teacher')}")
        chunk, at = divmod(self.study_ids.index(study_id), CHUNK)
        return next(islice(self.studies(), chunk, None))[at : at + 1]

    def sentence(self, text: str) -> Gaussians:
        """A sentence about an echo, through the student's text tower."""
        return Gaussians.of(*self.judged.reader().student.embed_text([text], "ECHO"))

    def reports(self, study_ids: list[str]) -> dict[str, str]:
        """Text of the echo report by study, where there is one, on one line."""
        table = catalog.REPORTS.read(self._above("catalog").folder)
        chosen = table.filter(pc.is_in(table["subject_id"], pa.array(study_ids, pa.string())))
        rows = zip(chosen["subject_id"].to_pylist(), chosen["text"].to_pylist(), strict=True)
        return {study: " ".join(text.split()) for study, text in rows}

    def studies_of(self, record_ids: list[str]) -> dict[str, str]:
        """Pseudonym of the study nearest in time by ECG, for those ECGs that are paired with one."""
        table = pairs.ECG_ECHO.read(self._above("pairs").folder)
        chosen = table.filter(pc.is_in(table["record_id"], pa.array(record_ids))).to_pylist()
        return {row["record_id"]: row["study_id"] for row in sorted(chosen, key=lambda row: -abs(row["gap_hours"]))}

    @cached_property
    def ecgs(self) -> tuple[list[str], Gaussians]:
        """Pseudonyms of the ECGs, and their Gaussians; the means are a memory map."""
        student = self.judged.student
        folder = self.store.workspace.scratch("student", student.version)
        names = [folder / f"{self._above('ecg')}-{part}.npy" for part in _PARTS]
        signals = PoolSignals(self.store.workspace, self._above("ecg"))
        if not all(name.is_file() for name in names):
            reader = self.judged.reader()
            dim = reader.student.settings.model.embed_dim
            made = embed_ecgs(reader.student, signals, np.arange(len(signals)), dim, self.progress)
            with writing_to(self.store.workspace.root):
                folder.mkdir(parents=True, exist_ok=True)
                for name, values in zip(names, (getattr(made, part) for part in _PARTS), strict=True):
                    with replacing(name) as beside, beside.open("wb") as file:
                        np.save(file, values)
        mean, *scalars = (np.load(name, mmap_mode="r" if at == 0 else None) for at, name in enumerate(names))
        return signals.record_ids, Gaussians(mean, *scalars)

    def _above(self, stage: Stage) -> Artefact:
        found = self.store.in_lineage(self.judged.student, stage)
        if found is None:
            raise StoreError(
                f"{self.judged.student}: its {stage} artefact is not in this workspace: nothing to search in"
            )
        return found
