"""One echo file to frame embeddings: what the teacher stage does with each file."""

from pathlib import Path

import numpy as np

from echoingecg.recipe.sections import TeacherSettings
from echoingecg.teacher.frames import read_clip
from echoingecg.teacher.model import Teacher


def embed_clip(path: Path, teacher: Teacher, settings: TeacherSettings) -> np.ndarray:
    """Embeddings of a clip's frames.

    Args:
        path: multi-frame ultrasound DICOM file.
        teacher: the frozen teacher.
        settings: which frames to take.

    Returns:
        float16 (frame, dim), unit length, in the order of the frames.

    Raises:
        Refusal: as `read_clip`.
    """
    return teacher.embed(read_clip(path, settings, teacher.image_size))
