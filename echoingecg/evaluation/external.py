"""Embeddings of other models, which a user hands in as Parquet."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts.external import EXTERNAL
from echoingecg.common.errors import ContractError, UserError


def read_external(name: str, path: Path) -> pa.Table:
    """The table of one model.

    Args:
        name: of the model in the recipe.
        path: Parquet with data_contracts.external.EXTERNAL's columns; other columns are not read, and lists
            of other floats or of fixed size are taken too.

    Raises:
        UserError: no such file, a column is missing or of another kind, rows of different lengths, a value that
            is not finite.
    """
    where = f"evaluation.external '{name}'"
    try:
        table = pq.read_table(path, columns=EXTERNAL.schema.names)
        found = EXTERNAL.check(table.select(EXTERNAL.schema.names).cast(EXTERNAL.schema))
    except (OSError, KeyError, ValueError, pa.ArrowException, ContractError) as fault:
        first = next(iter(str(fault).splitlines()), type(fault).__name__)
        columns = " and ".join(EXTERNAL.schema.names)
        raise UserError(f"{where}: {path} is no Parquet table of {columns}: {first}") from fault
    embedding = found["embedding"].combine_chunks()
    if found.num_rows and pc.count_distinct(pc.list_value_length(embedding)).as_py() != 1:
        raise UserError(f"{where}: embeddings of different lengths: one model gives one length")
    if not pc.all(pc.is_finite(embedding.flatten()), skip_nulls=False).as_py() and found.num_rows:
        raise UserError(f"{where}: an embedding holds a value that is missing or not finite")
    return found


def external_features(name: str, table: pa.Table, content_hash: list[str]) -> np.ndarray:
    """The embeddings of some ECGs.

    Args:
        name: of the model in the recipe.
        table: of `read_external`.
        content_hash: r of the ECGs' files, in the order wanted; may repeat.

    Returns:
        (r, D) float32.

    Raises:
        UserError: one has no embedding; numbers in one table must come from the same patients.
    """
    rows = pc.index_in(pa.array(content_hash, pa.string()), value_set=table["content_hash"])
    if rows.null_count:
        raise UserError(
            f"evaluation.external '{name}': {rows.null_count} of {len(rows)} paired ECGs have no embedding: models are "
            f"compared on the same ECGs, so embed every content_hash of the pairs (docs/protocols.md)"
        )
    values = table["embedding"].combine_chunks().take(rows).flatten().to_numpy()
    return values.reshape(len(rows), len(values) // max(len(rows), 1))
