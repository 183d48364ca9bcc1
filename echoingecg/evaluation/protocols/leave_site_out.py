"""Each site judged by what the other sites chose: thresholds, calibrators, probes. The student is not trained again."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import Models
from echoingecg.evaluation.metrics.selective import MIN_PATIENTS_PER_GROUP, subgroup_levels
from echoingecg.evaluation.protocols.classification import EndpointResult, decide_endpoints, score_endpoint
from echoingecg.evaluation.protocols.trust import CohortTrust
from echoingecg.recipe import EvaluationSettings, FewShotSettings, TuningSettings

_NOWHERE = ""  # a side of the split that nothing is learned from, chosen on or measured on


def leave_sites_out(
    inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, settings: EvaluationSettings
) -> Iterator[tuple[str, list[EndpointResult]]]:
    """Yields each site with the results on its test ECGs, decided by the other sites.

    Probes and predictive distributions are fitted on the other sites' training ECGs, thresholds and calibrators chosen
    on their validation ECGs. ECGs without a site count nowhere. Numbers, few-shot and tuning are left out.

    Args:
        inputs: of the stage.
        pairs: of the same inputs.
        models: what every model makes of the same pairs.
        settings: endpoints and rules.

    Yields:
        Site and results, for each site with at least MIN_PATIENTS_PER_GROUP test patients, where there are two sites.
    """
    levels = subgroup_levels(pairs.record_id, inputs.subgroups, inputs.records, ())
    site = levels.get("site", np.full(len(pairs.record_id), ""))
    known = [name for name in np.unique(site).tolist() if name]
    plain = settings.model_copy(update={"few_shot": FewShotSettings(cases=()), "tuning": TuningSettings()})
    is_test = pairs.split == "test"
    for name in known if len(known) > 1 else []:
        is_own = site == name
        if len(np.unique(pairs.patient_id[is_own & is_test])) < MIN_PATIENTS_PER_GROUP:
            continue
        is_used = np.where(is_own, is_test, (site != "") & ~is_test)
        cut = replace(pairs, split=np.where(is_used, pairs.split, _NOWHERE))
        trust = CohortTrust.from_models(inputs, cut, models, plain)
        scored = [score_endpoint(endpoint, inputs, cut, models, trust, plain) for endpoint in settings.endpoints]
        yield name, decide_endpoints(scored, trust, plain)
