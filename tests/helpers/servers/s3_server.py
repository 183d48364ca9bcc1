"""An S3 server in a process of its own, on a free port, its address and a password in the environment."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from helpers.servers.prefect_server import answers, free_address, process, wait_for


@contextmanager
def s3_bucket(log: Path, **settings: str) -> Iterator[str]:
    """`s3://bucket` of moto, which knows the conditional writes that Icechunk's commits rest on.

    Args:
        log: what it prints.
        settings: of moto itself, such as INITIAL_NO_AUTH_ACTION_COUNT.
    """
    program = shutil.which("moto_server", path=Path(sys.executable).parent)
    assert program, "needs the extra `test`"
    address = free_address()
    host, port = address.removeprefix("http://").split(":")
    told = {
        "AWS_ENDPOINT_URL": address,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    with (
        process(program, "--host", host, "--port", port, log=log, environment={**os.environ, **settings}),
        pytest.MonkeyPatch.context() as patch,
    ):
        wait_for(lambda: answers(address), "S3 server")
        httpx.put(f"{address}/bucket").raise_for_status()
        for name, value in told.items():
            patch.setenv(name, value)
        yield "s3://bucket"
