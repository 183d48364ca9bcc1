"""A table contract: an Arrow schema for types, pandera for values; checked on write and on read.

An array contract: named dimensions, dtype, unit; checked on zarr arrays on write and on read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.conventions import ContractError

if TYPE_CHECKING:
    import pandera.pandas as pandera

Checks = Callable[[], Mapping[str, Any]]


def column(name: str, kind: pa.DataType, says: str, unit: str = "", optional: bool = False) -> pa.Field:
    """An Arrow field that carries its description and, where it has one, its unit.

    Args:
        name: column name.
        kind: Arrow type.
        says: one sentence for the reader of the file.
        unit: SI or clinical unit, empty for none.
        optional: whether nulls are allowed.
    """
    metadata = {"description": says} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=optional, metadata=metadata)


@dataclass(frozen=True)
class TableContract:
    """One Parquet file of an artefact.

    Attributes:
        name: file name without its ending.
        schema: Arrow schema; columns, order and types must match exactly.
        checks: function that returns pandera checks by column. It is a function so that pandera
            is imported only when a table is checked.
        unique: columns whose values together occur once.
    """

    name: str
    schema: pa.Schema
    checks: Checks = field(default=dict)
    unique: tuple[str, ...] = ()

    @property
    def filename(self) -> str:
        return f"{self.name}.parquet"

    @cached_property
    def pandera_schema(self) -> "pandera.DataFrameSchema":
        import pandera.pandas as pandera

        checks = self.checks()
        return pandera.DataFrameSchema(
            {one.name: pandera.Column(checks=checks.get(one.name), nullable=one.nullable) for one in self.schema},
            unique=list(self.unique) or None,
            strict=True,
        )

    def build(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Rows as a checked table.

        Raises:
            ContractError: a value has the wrong type or breaks a check.
        """
        try:
            table = pa.Table.from_pylist(rows, schema=self.schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as fault:
            raise ContractError(f"table '{self.name}': {fault}".replace("\n", " ")) from fault
        return self.check(table)

    def check(self, table: pa.Table) -> pa.Table:
        """The table itself, once columns, types, nulls and values have been checked.

        Raises:
            ContractError: names the table, the column and the first values at fault.
        """
        import pandas as pd
        import pandera.errors

        missing = [name for name in self.schema.names if name not in table.schema.names]
        if missing:
            raise ContractError(f"table '{self.name}' lacks the column '{missing[0]}'")
        extra = [name for name in table.schema.names if name not in self.schema.names]
        if extra:
            raise ContractError(f"table '{self.name}' has an unknown column '{extra[0]}'")
        for one in self.schema:
            found = table.schema.field(one.name)
            if found.type != one.type:
                raise ContractError(f"table '{self.name}', column '{one.name}': {found.type}, expected {one.type}")
            if not one.nullable and table[one.name].null_count:
                raise ContractError(f"table '{self.name}', column '{one.name}': {table[one.name].null_count} nulls")
        table = table.select(self.schema.names).cast(self.schema)
        try:
            self.pandera_schema.validate(table.to_pandas(types_mapper=pd.ArrowDtype))
        except pandera.errors.SchemaError as fault:
            line = str(fault).splitlines()[0]
            raise ContractError(f"table '{self.name}': {line}") from fault
        return table

    def write(self, table: pa.Table, folder: Path) -> Path:
        """Checks and writes `<folder>/<name>.parquet`; the same rows give the same bytes."""
        path = folder / self.filename
        pq.write_table(self.check(table), path, compression="zstd")
        return path

    def read(self, folder: Path) -> pa.Table:
        """Reads and checks `<folder>/<name>.parquet`.

        Raises:
            ContractError: the file is absent, unreadable or breaks the contract.
        """
        path = folder / self.filename
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as fault:
            line = str(fault).splitlines()[0]
            raise ContractError(f"table '{self.name}' cannot be read: {line}") from fault
        return self.check(table)


@dataclass(frozen=True)
class ArrayContract:
    """One Zarr array.

    Attributes:
        name: array name in its group.
        dims: dimension names, outermost first; they open as such in xarray.
        dtype: NumPy dtype name.
        unit: unit of the values, empty for none.
        says: one sentence for the reader.
        sizes: sizes that the contract fixes, by dimension name.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    unit: str
    says: str
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def attributes(self) -> dict[str, str]:
        """CF-style attributes to store beside the array."""
        return {"long_name": self.says} | ({"units": self.unit} if self.unit else {})

    def check(self, array: Any) -> None:
        """Raises ContractError unless the zarr array has these dims, dtype, sizes and unit."""
        dims = tuple(array.metadata.dimension_names or ())
        if dims != self.dims:
            raise ContractError(f"array '{self.name}' has dimensions {dims}, expected {self.dims}")
        if str(array.dtype) != self.dtype:
            raise ContractError(f"array '{self.name}' is {array.dtype}, expected {self.dtype}")
        shape = dict(zip(dims, array.shape, strict=True))
        for dim, size in self.sizes:
            if shape[dim] != size:
                raise ContractError(f"array '{self.name}' has {shape[dim]} along '{dim}', expected {size}")
        if array.attrs.get("units", "") != self.unit:
            raise ContractError(f"array '{self.name}' lacks units '{self.unit}'")
