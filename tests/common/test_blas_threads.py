"""Matrix products stay on one thread in whichever thread of the process the work is done."""

from concurrent.futures import ThreadPoolExecutor

import scipy.linalg  # noqa: F401 - SciPy's BLAS is another one than NumPy's
from threadpoolctl import threadpool_info, threadpool_limits

from echoingecg.common import one_blas_thread


def _blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def _inside() -> set[int]:
    with one_blas_thread():
        return _blas_threads()


def test_one_thread_wherever_the_work_is_done() -> None:
    """Although another thread, which lives on, has set a limit before and so is the only one that is heard."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        before = first.submit(_blas_threads).result()
        assert first.submit(_inside).result() == {1}
        assert first.submit(_blas_threads).result() == before
        first.submit(lambda: threadpool_limits(2, user_api="blas")).result()
        assert second.submit(_inside).result() == {1}
        assert second.submit(_blas_threads).result() == {2}
        first.submit(lambda: threadpool_limits(next(iter(before)), user_api="blas")).result()
