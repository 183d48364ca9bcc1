"""What every artefact and every table must look like. It imports no other part of the project."""
