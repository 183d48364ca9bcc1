"""What Prefect shows of a stage: tables and pictures of its artefact."""
