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

from tasks.base.workers import local_cluster

NOBODY = 65534


def listening_ports(process: int) -> set[tuple[str, int]]:
    """Address and port of every TCP socket on which a process listens, from /proc."""
    sockets = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        if match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()) if link.is_symlink() else ""):
            sockets.add(match[1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        (".".join(str(part) for part in bytes.fromhex(row[1][:8])[::-1]), int(row[1][9:], 16))
        for row in rows
        if row[3] == "0A" and row[9] in sockets
    }


@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="needs /proc")
def test_a_local_cluster_is_its_owners_alone() -> None:
    with local_cluster(1) as cluster, Client(cluster) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        address = cluster.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        processes = {os.getpid(), *client.run(os.getpid).values()}
        ports = {port for process in processes for port in listening_ports(process)}
        assert {host for host, _ in ports} <= {"127.0.0.1"}
        for _, port in ports:
            for page in ("json/identity.json", "info/main/workers.html", "metrics", "health", "status"):
                with pytest.raises(OSError, match=r"404|reset|refused|closed|EOF|timed out"):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5)
        for way in (address.replace("tls", "tcp"), address):
            done = subprocess.run(
                [sys.executable, "-c", _ATTACK, way],
                capture_output=True,
                text=True,
                timeout=60,
                user=NOBODY if os.geteuid() == 0 else None,
                check=False,
            )
            assert "reached" not in done.stdout, way
            assert done.returncode == 1, done.stderr


_ATTACK = """
import sys
import tempfile
import os
os.environ["HOME"] = tempfile.mkdtemp()
from distributed import Client, Security
security = Security(require_encryption=True) if sys.argv[1].startswith("tls") else None
with Client(sys.argv[1], timeout=3, security=security) as client:
    print("reached", client.submit(os.getuid).result())
"""
