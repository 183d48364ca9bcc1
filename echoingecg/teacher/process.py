"""One echo file to embeddings, by itself."""

from pathlib import Path

import numpy as np

from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.embed import embed_clips
from echoingecg.teacher.frames import read_clip
from echoingecg.teacher.protocol import Teacher


def embed_clip(path: Path, teacher: Teacher, settings: TeacherSettings) -> np.ndarray:
    """Embeddings of a clip: what the teacher stage keeps of the file.

    Args:
        path: multi-frame ultrasound DICOM file.
        teacher: the frozen teacher.
        settings: which frames to take.

    Returns:
        float16 (vector, dim), unit length, in the order of the frames.

    Raises:
        Refusal: as `read_clip`.
    """
    return next(embed_clips([(path, read_clip(path, settings, teacher.image_size))], [teacher]))[1]
