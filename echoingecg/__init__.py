"""The science of echoingecg: pure functions and modules; no Prefect, no environment, no global path.

Folders, uppermost first: prediction, evaluation, student, simulator, teacher, pairs, catalog, ecg, recipe, common.
"""
