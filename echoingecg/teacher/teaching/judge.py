"""How well a teacher tells LVEF by prompts alone, on studies it has never seen."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from echoingecg.teacher.demo_training.examples import Examples
from echoingecg.teacher.embed import embed_clips
from echoingecg.teacher.protocol import Teacher
from echoingecg.teacher.zero_shot import LVEF_PROMPT, ranked_value

CANDIDATES = np.arange(101)  # %


@dataclass(frozen=True)
class Judgement:
    """LVEF by ranked prompts against the measured one.

    Attributes:
        studies: how many were judged.
        mae: mean absolute error, percentage points.
        plain_mae: of answering the median LVEF of these studies every time.
        auroc_40: of LVEF < 40 %; NaN where one class is absent.
        correlation: Pearson's.
    """

    studies: int
    mae: float
    plain_mae: float
    auroc_40: float
    correlation: float


def judge(teacher: Teacher, examples: Examples) -> Judgement:
    """Judges the studies whose LVEF was measured.

    Args:
        teacher: frames and prompts go through its two towers.
        examples: at least two studies with a measured LVEF.
    """
    prompts = teacher.embed_text([LVEF_PROMPT.format(value) for value in CANDIDATES])
    measured = np.flatnonzero(np.isfinite(examples.lvef))
    studies = ((study, examples.frames[study]) for study in measured)
    found = np.array([ranked_value(frames, prompts, CANDIDATES) for _, frames in embed_clips(studies, [teacher])])
    true = examples.lvef[measured]
    reduced = true < 40
    return Judgement(
        studies=len(true),
        mae=float(np.abs(found - true).mean()),
        plain_mae=float(np.abs(np.median(true) - true).mean()),
        auroc_40=float(roc_auc_score(reduced, -found)) if 0 < reduced.sum() < len(true) else float("nan"),
        correlation=float(np.corrcoef(found, true)[0, 1]),
    )
