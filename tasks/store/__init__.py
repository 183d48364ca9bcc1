"""Versions of artefacts: published whole or not at all, found by name, shared on S3."""

from tasks.store.artefact import Artefact, Built, Inputs, Plan, content_of, differences, results_of
from tasks.store.artefacts import ArtefactStore, join, leave, sharing
from tasks.store.job import Job, key_digest, private_folder, read_private, stages_to_run, upstream_of, write_private
from tasks.store.moves import before_it, read_moves
from tasks.store.shared import SharedStore, check_alias, joined
