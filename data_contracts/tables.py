"""Contracts of tables and arrays: types, units and allowed values, checked whenever one is written or read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts.conventions import ContractError
from data_contracts.manifest import checked_file

if TYPE_CHECKING:
    import pandera.pandas as pandera

_ROWS_AT_ONCE = 200_000

Checks = Callable[[Any], Mapping[str, Any]]  # takes the class pandera.Check, returns pandera checks by column


def column(name: str, kind: pa.DataType, description: str, unit: str = "", optional: bool = False) -> pa.Field:
    """Returns an Arrow field that carries its description and, if it has one, its unit.

    Args:
        name: column name.
        kind: Arrow type.
        description: one sentence for the reader of the file.
        unit: SI or clinical unit, empty for none.
        optional: True if nulls are allowed.
    """
    metadata = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=optional, metadata=metadata)


@dataclass(frozen=True)
class TableContract:
    """One Parquet file of an artefact.

    Attributes:
        name: file name without its ending.
        columns: Arrow fields, as `column` makes them; their names, order and types must match exactly.
        checks: function that returns pandera checks by column. It is a function so that pandera is imported only
            when a table is checked.
        unique: columns whose values together must not repeat.
        notice: text for the metadata of the file, empty for none.
    """

    name: str
    columns: tuple[pa.Field, ...]
    checks: Checks | None = None
    unique: tuple[str, ...] = ()
    notice: str = ""

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of the table."""
        return pa.schema(self.columns, metadata={"notice": self.notice} if self.notice else None)

    @property
    def filename(self) -> str:
        """Name of the Parquet file."""
        return f"{self.name}.parquet"

    @cached_property
    def pandera_schema(self) -> "pandera.DataFrameSchema":
        """Checks of values, nulls and repetitions."""
        import pandera.pandas as pandera

        checks = self.checks(pandera.Check) if self.checks else {}
        return pandera.DataFrameSchema(
            {
                column.name: pandera.Column(checks=checks.get(column.name), nullable=column.nullable)
                for column in self.columns
            },
            unique=list(self.unique) or None,
            strict=True,
        )

    def build(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Makes a checked table of rows.

        Raises:
            ContractError: a value has the wrong type or breaks a check.
        """
        try:
            table = pa.Table.from_pylist(rows, schema=self.schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as fault:
            raise ContractError(f"table '{self.name}': {fault}".replace("\n", " ")) from fault
        return self.check(table)

    def check(self, table: pa.Table) -> pa.Table:
        """Checks columns, types, nulls and values, and returns the table with the contract's schema.

        Raises:
            ContractError: the message names the table, the column and the first wrong values.
        """
        missing = [name for name in self.schema.names if name not in table.schema.names]
        if missing:
            raise ContractError(f"table '{self.name}' lacks the column '{missing[0]}'")
        extra = [name for name in table.schema.names if name not in self.schema.names]
        if extra:
            raise ContractError(f"table '{self.name}' has an unknown column '{extra[0]}'")
        for column in self.columns:
            name, values = column.name, table[column.name]
            if values.type != column.type:
                raise ContractError(f"table '{self.name}', column '{name}': {values.type}, expected {column.type}")
            if not column.nullable and values.null_count:
                raise ContractError(f"table '{self.name}', column '{name}': {values.null_count} nulls")
        table = table.select(self.schema.names).cast(self.schema)
        # Checks look at one value at a time, so parts do: the frame of millions of rows would need a gigabyte.
        for start in range(0, max(1, len(table)), _ROWS_AT_ONCE):
            self._validate(table.slice(start, _ROWS_AT_ONCE))
        if len(table) > _ROWS_AT_ONCE and self.unique and self._repeats(table):
            self._validate(table)
        return table

    def _validate(self, table: pa.Table) -> None:
        import pandas as pd
        import pandera.errors

        try:
            self.pandera_schema.validate(table.to_pandas(types_mapper=pd.ArrowDtype))
        except pandera.errors.SchemaError as fault:
            raise ContractError(f"table '{self.name}': {str(fault).splitlines()[0]}") from fault

    def _repeats(self, table: pa.Table) -> bool:
        """Returns whether the values of `unique` repeat. A table that is sorted by its one such column is only read."""
        if len(self.unique) == 1:
            column = table[self.unique[0]]
            if not column.null_count and pc.all(pc.less(column[:-1], column[1:])).as_py():
                return False
        groups = table.select(self.unique).group_by(list(self.unique), use_threads=False).aggregate([])
        return len(groups) < len(table)

    def write(self, table: pa.Table, folder: Path) -> Path:
        """Checks a table and writes it as `<folder>/<name>.parquet`; equal rows give equal bytes."""
        path = folder / self.filename
        pq.write_table(self.check(table), path, compression="zstd")
        return path

    def read(self, folder: Path) -> pa.Table:
        """Reads and checks `<folder>/<name>.parquet`.

        Raises:
            ContractError: the file is missing or unreadable, or it breaks the contract.
            DamagedError: it is not the one that the folder's manifest names.
        """
        path = checked_file(folder, self.filename)
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as fault:
            raise ContractError(f"table '{self.name}' cannot be read: {str(fault).splitlines()[0]}") from fault
        return self.check(table)


@dataclass(frozen=True)
class ArrayContract:
    """One Zarr array.

    Attributes:
        name: array name in its group.
        dims: dimension names, outermost first; xarray shows them.
        dtype: NumPy dtype name.
        unit: unit of the values, empty for none.
        description: one sentence for the reader.
        sizes: sizes that the contract fixes, by dimension name.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    unit: str
    description: str
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def attributes(self) -> dict[str, str]:
        """CF-style attributes to store with the array."""
        return {"long_name": self.description} | ({"units": self.unit} if self.unit else {})

    def check(self, array: Any) -> None:
        """Raises ContractError if the Zarr array has other dimensions, another dtype, size or unit."""
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
