"""Versions of artefacts: published whole or not at all, found by name, shared on S3."""
