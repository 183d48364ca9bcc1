"""Results for each source file, under the hash of its content; shared by all versions of a stage."""

from tasks.pools.pool import Pool, array_of, rows_by_key, rows_of, sweep
from tasks.pools.signals import PoolSignals, published_digests, rows_in_pool, write_pool_content
from tasks.pools.transaction import Draft, PoolArray, read_rows
