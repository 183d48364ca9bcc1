"""Two students on the same test patients: paired differences, and what the recipe's rule makes of them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from data_contracts.decision import Compared
from echoingecg.errors import UserError
from echoingecg.evaluation.metrics import AUROC, bootstrap
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
    label, patient = of["label"].to_numpy(), of["patient_id"].to_numpy().astype(np.str_)
    sizes = {"records": len(of), "patients": len(np.unique(patient)), "positives": int(label.sum())}
    if len(np.unique(label)) < 2:
        return Compared(endpoint=endpoint, champion=None, challenger=None, low=None, high=None, **sizes)
    metric = roc_auc_score if rule.metric == AUROC else balanced_accuracy_score
    column = "score" if rule.metric == AUROC else "decision"
    values, drawn = [], []
    for suffix in ("", "_of_challenger"):
        score, decision = of[f"score{suffix}"].to_numpy(), of[f"decision{suffix}"].to_numpy()
        values.append(float(metric(label, of[f"{column}{suffix}"].to_numpy())))
        # Equal patients, labels and seed: the resamples are the same for both, and so are those left out.
        drawn.append(bootstrap(label, score, decision, patient, rule.draws, rule.seed)[rule.metric])
    low, high = None, None
    if all(len(np.unique(patient[label == one])) > 1 for one in (0, 1)):
        low, high = (float(one) for one in np.percentile(drawn[1] - drawn[0], [2.5, 97.5]))
    return Compared(endpoint=endpoint, champion=values[0], challenger=values[1], low=low, high=high, **sizes)


def _test(table: pa.Table, protocol: str) -> pd.DataFrame:
    frame = table.to_pandas()
    chosen = frame[(frame["split"] == "test") & (frame["protocol"] == protocol)]
    return chosen[["endpoint", "record_id", "patient_id", "label", "score", "decision"]]
