"""Two students on the same test patients: paired differences, and what the recipe's rule makes of them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts.decision import Compared
from echoingecg.common.errors import UserError
from echoingecg.evaluation.metrics.bootstrap import Patients
from echoingecg.evaluation.metrics.classification import binary_metrics
from echoingecg.evaluation.paired import paired_differences
from echoingecg.recipe.promotion import PromotionSettings


def compare(champion: pa.Table, challenger: pa.Table, rule: PromotionSettings) -> tuple[Compared, ...]:
    """Every endpoint of the champion, on the champion's test ECGs.

    Args:
        champion: evaluation.PREDICTIONS of the champion.
        challenger: the same of the challenger; it may know more test ECGs, they are left out.
        rule: protocol, metric, draws.

    Raises:
        UserError: the challenger was not judged on all these ECGs with the same labels, or there is none.
    """
    ours, theirs = (_test(table, rule.protocol) for table in (champion, challenger))
    keys = ["endpoint", "record_id", "patient_id", "label"]
    both = ours.merge(theirs, on=keys, how="left", suffixes=("", "_of_challenger"), sort=False)
    if missing := int(both["score_of_challenger"].isna().sum()):
        raise UserError(
            f"the challenger lacks {missing} of the champion's {len(ours)} test labels: judge both on the same pairs "
            "and endpoints, with the same split"
        )
    if both.empty:
        raise UserError(f"the champion has no test prediction under protocol '{rule.protocol}'")
    return tuple(_compared(str(name), of, rule) for name, of in both.groupby("endpoint", sort=False))


def decide(compared: tuple[Compared, ...], rule: PromotionSettings) -> tuple[bool, str]:
    """Whether the challenger is promoted, and why.

    Raises:
        UserError: the rule names an endpoint that was not compared.
    """
    first = rule.endpoint or compared[0].endpoint
    if first not in [one.endpoint for one in compared]:
        raise UserError(f"promotion.endpoint: '{first}' was not judged")
    obstacles = list(_obstacles(compared, first, rule))
    return not obstacles, "; ".join(obstacles) or f"gains at {first}, loses too much nowhere"


def _obstacles(compared: tuple[Compared, ...], first: str, rule: PromotionSettings) -> Iterator[str]:
    for one in compared:
        floor = rule.least_gain if one.endpoint == first else -rule.most_loss
        if one.low is None or one.gain is None:
            yield f"{one.endpoint}: no interval, a class is absent or of one patient"
        elif one.low <= floor:
            yield f"{one.endpoint}: gain {one.gain:+.3f}, its lower end {one.low:+.3f} is not above {floor:+.3f}"


def _compared(endpoint: str, of: pd.DataFrame, rule: PromotionSettings) -> Compared:
    label, patients = of["label"].to_numpy(), Patients.of(of["patient_id"].to_numpy().astype(np.str_))
    judged = [(of[f"score{one}"].to_numpy(), of[f"decision{one}"].to_numpy()) for one in ("", "_of_challenger")]
    name = str(rule.metric)
    champion, challenger = ({name: binary_metrics(label, *one, patients)[name]} for one in judged)
    found = paired_differences(challenger, champion, patients, rule.draws, rule.seed)[name]
    return Compared(
        endpoint=endpoint,
        champion=found.second,
        challenger=found.first,
        low=found.low,
        high=found.high,
        records=len(of),
        patients=of["patient_id"].nunique(),
        positives=int(label.sum()),
    )


def _test(table: pa.Table, protocol: str) -> pd.DataFrame:
    frame = table.to_pandas()
    chosen = frame[(frame["split"] == "test") & (frame["protocol"] == protocol)]
    return chosen[["endpoint", "record_id", "patient_id", "label", "score", "decision"]]
