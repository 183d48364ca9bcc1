"""What is done with published artefacts: predict, search, compare, promote, verify, collect."""
