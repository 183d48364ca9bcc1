"""Tables of the evaluation artefact on the embedding space and who is in it: certainty, shift, retrieval."""

from typing import Final

import pyarrow as pa

from data_contracts.tables import TableContract, column

LOW: Final = column("low", pa.float64(), "2.5 % of the patient bootstrap; null where there is none", optional=True)
HIGH: Final = column("high", pa.float64(), "97.5 % of the patient bootstrap; null as `low`", optional=True)

UNCERTAINTY: Final = TableContract(
    "uncertainty",
    pa.schema(
        [
            column("record_id", pa.string(), "keyed pseudonym of the ECG recording"),
            column("split", pa.string(), "split of the patient"),
            column("mean_log_var", pa.float64(), "mean over dimensions of the predicted log-variance"),
            column("total_variance", pa.float64(), "sum over dimensions of the predicted variance"),
            column("max_log_var", pa.float64(), "largest predicted log-variance"),
        ]
    ),
    unique=("record_id",),
)

SHIFT: Final = TableContract(
    "shift",
    pa.schema(
        [
            column("measure", pa.string(), "embedding, prevalence or share"),
            column("name", pa.string(), "mmd2; an endpoint; or a stratum and its level, as `sex: F`"),
            column("reference", pa.string(), "split that is compared with"),
            column("compared", pa.string(), "split that is compared"),
            column("reference_value", pa.float64(), "share in the reference; null for embedding", optional=True),
            column("compared_value", pa.float64(), "share in the compared; null for embedding", optional=True),
            column("value", pa.float64(), "compared less reference; for embedding the squared MMD"),
            LOW,
            HIGH,
            *(
                column(f"{side}_{what}", pa.int64(), f"{what} of the {side} that were compared")
                for side in ("reference", "compared")
                for what in ("records", "patients")
            ),
            column("p", pa.float64(), "share of permutations of patients as far apart; embedding only", optional=True),
        ]
    ),
    unique=("measure", "name", "reference", "compared"),
)

RETRIEVAL: Final = TableContract(
    "retrieval",
    pa.schema(
        [
            column("direction", pa.string(), "ecg_to_echo or echo_to_ecg, on the test split"),
            column("queries", pa.int64(), "rows that look for their match"),
            column("gallery", pa.int64(), "rows among which they look"),
            column("k", pa.int64(), "how many nearest count"),
            column("recall", pa.float64(), "share of queries with a true match among the k nearest"),
            column("chance", pa.float64(), "the same of a random order"),
            column("median_rank", pa.float64(), "median over queries of the rank of the nearest true match, 1 is best"),
        ]
    ),
    unique=("direction", "k"),
)

TABLES: Final = (UNCERTAINTY, SHIFT, RETRIEVAL)
