"""The science of echoingecg: pure functions and modules; no Prefect, no environment, no global path."""
