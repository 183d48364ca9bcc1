"""New source files become rows of a pool, block by block, on this machine or on Dask workers."""
