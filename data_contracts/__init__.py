"""What every artefact must look like. The lowest floor: it imports nothing of the project."""
