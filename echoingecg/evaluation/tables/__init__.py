"""Results become rows of the artefact's tables."""
