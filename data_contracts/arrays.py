"""An array contract: named dimensions, dtype, unit; checked on zarr arrays on write and on read."""

from dataclasses import dataclass
from typing import Any

from data_contracts.errors import ContractError


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
