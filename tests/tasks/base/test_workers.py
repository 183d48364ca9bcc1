"""The local Dask cluster of a run: nobody else on the machine can use it or read from it."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from distributed import Client

from helpers.servers.sockets import DASK_AS_NOBODY, NO_CERTIFICATE, PLAIN_CLIENT, listening, tree
from tasks.base.workers import local_cluster


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="needs /proc")
def test_a_local_cluster_is_its_owners_alone() -> None:
    with local_cluster(1) as cluster, Client(cluster) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        address = cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        sockets = listening(tree(os.getpid()))
        assert {each.process for each in sockets} >= {os.getpid(), *client.run(os.getpid).values()}
        assert all(each.is_on_loopback for each in sockets)
        for port in {each.port for each in sockets}:
            for page in ("json/identity.json", "info/main/workers.html", "metrics", "health", "status"):
                with pytest.raises(OSError, match=r"404|reset|refused|closed|EOF|timed out"):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)
        for attack, refusal in (
            (PLAIN_CLIENT, "OSError: Timed out|reset by peer|Closed"),
            (NO_CERTIFICATE, "ALERT|EOF|reset"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", DASK_AS_NOBODY + attack, address], capture_output=True, text=True, check=False
            )
            assert "reached" not in done.stdout, attack
            assert re.search(refusal, done.stderr), done.stderr
