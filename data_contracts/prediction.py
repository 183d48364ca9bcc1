"""What reading ECGs gives: tables for whoever named the files. Not artefacts: they hold the files' names."""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import pyarrow as pa

from data_contracts.quarantine import REASONS
from data_contracts.tables import TableContract, column

NOTICE: Final = "Research software, not a medical device. Not for clinical use."

Advice = Literal["predict", "refer"]
ADVICE: Final[tuple[Advice, ...]] = get_args(Advice)


def _checks() -> Mapping[str, Any]:
    import pandera.pandas as pandera

    share = pandera.Check.in_range(0, 1)
    return {
        "probability": share,
        "score": share,
        "low": share,
        "high": share,
        "uncertainty_percentile": pandera.Check.in_range(0, 100),
        "decision": pandera.Check.isin([0, 1]),
        "advice": pandera.Check.isin(ADVICE),
        "reason": pandera.Check.isin(sorted(REASONS)),
    }


_FILE = column("file", pa.string(), "as it was named, or found in the folder that was")
_REFUSAL = (
    column("reason", pa.string(), "why the file was refused: data_contracts.quarantine.REASONS", optional=True),
    column("detail", pa.string(), "what was found in it", optional=True),
)
_FINDINGS = column(
    "findings", pa.list_(pa.string()), "quality findings of the recording and of its leads", optional=True
)

# A row for each endpoint of an ECG that was read; one row, with a reason, for a file that was refused.
READINGS: Final = TableContract(
    "readings",
    pa.schema(
        [
            _FILE,
            column("endpoint", pa.string(), "name of the endpoint in the recipe", optional=True),
            column("protocol", pa.string(), "how the probability was come by", optional=True),
            column("probability", pa.float64(), "calibrated probability of label 1", optional=True),
            column("low", pa.float64(), "2.5 % of the probability over the ECG's own Gaussian", optional=True),
            column("high", pa.float64(), "97.5 % of the probability over the ECG's own Gaussian", optional=True),
            column("score", pa.float64(), "what is calibrated: as in evaluation.PREDICTIONS", optional=True),
            column("decision", pa.int8(), "1 when the score reaches the threshold", optional=True),
            column("uncertainty", pa.float64(), "mean over dimensions of the ECG's log-variance", optional=True),
            column(
                "uncertainty_percentile",
                pa.float64(),
                "share of validation ECGs that are no more uncertain; null when there were none",
                "%",
                optional=True,
            ),
            column("advice", pa.string(), "predict: answered with the decision; refer: to echo", optional=True),
            _FINDINGS,
            *_REFUSAL,
        ],
        metadata={"notice": NOTICE},
    ),
    _checks,
)

# A row for each file.
GAUSSIANS: Final = TableContract(
    "gaussians",
    pa.schema(
        [
            _FILE,
            column("mean", pa.list_(pa.float32()), "unit-length mean of the ECG's Gaussian, (dim,)", optional=True),
            column("log_var", pa.list_(pa.float32()), "its log-variance, (dim,)", optional=True),
            _FINDINGS,
            *_REFUSAL,
        ],
        metadata={"notice": NOTICE},
    ),
    _checks,
)
