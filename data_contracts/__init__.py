"""Contracts: what every artefact and table must look like. They import no other part of the project."""
