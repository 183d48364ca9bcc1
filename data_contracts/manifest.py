"""The manifest of an artefact. It is written last: only with it, the artefact exists. It states the lineage."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.conventions import Stage

FILENAME = "manifest.json"


class Checksum(BaseModel):
    """Size and SHA-256 of one file of the artefact."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bytes: int = Field(ge=0)
    sha256: str


class PoolSnapshot(BaseModel):
    """Where an artefact's arrays are stored: a snapshot of an Icechunk repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str = Field(description="repository, relative to the workspace, or s3://bucket/prefix")
    snapshot: str = Field(description="Icechunk snapshot id; differs between machines, the content does not")


class Run(BaseModel):
    """How this copy was made. It is not part of the content, because it differs from run to run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    finished: str = Field(description="UTC, ISO 8601; later than any version of the stage before it")
    seconds: float = Field(ge=0)
    packages: dict[str, str] = Field(description="versions of the packages that shape the result")
    processor: dict[str, str] | None = Field(
        default=None,
        description="machine, cpu, instruction_set of torch, gpu if any: results differ in their last bits",
    )
    pool: PoolSnapshot | None = None
    new_keys: int | None = Field(
        default=None, description="number of files that this run processed; the others were in the pool"
    )


class Manifest(BaseModel):
    """What an artefact is, what it was made from, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    stage: Stage
    version: str
    contract_version: int
    code_version: int
    recipe: dict[str, Any] = Field(description="the section of the recipe that the stage read")
    source: dict[str, str] = Field(description="what else the version depends on, as digests")
    inputs: dict[Stage, str] = Field(description="versions of the artefacts it was made from, by stage")
    counts: dict[str, int]
    files: dict[str, Checksum] = Field(description="every other file of the artefact, by relative path")
    content: str = Field(description="SHA-256 over `files`: equal when two copies hold the same bytes")
    run: Run
