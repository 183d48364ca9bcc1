"""New source files become rows of a pool, block by block, on this machine or a Dask cluster."""
