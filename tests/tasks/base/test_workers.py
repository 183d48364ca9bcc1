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
        for attack, refusal in (
            (_PLAIN_CLIENT, "OSError: Timed out|reset by peer|Closed"),
            (_TLS_WITHOUT_CERTIFICATE, "ALERT|EOF|reset"),
        ):
            done = subprocess.run(
                [sys.executable, "-c", _AS_NOBODY + attack, address], capture_output=True, text=True, check=False
            )
            assert "reached" not in done.stdout, attack
            assert re.search(refusal, done.stderr), done.stderr


_AS_NOBODY = f"""
import os, socket, ssl, sys
import distributed.comm.tcp
from distributed import Client
if os.geteuid() == 0:
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""
_PLAIN_CLIENT = """
with Client(sys.argv[1].replace("tls", "tcp"), timeout=3) as client:
    print("reached", client.submit(os.getuid).result())
"""
_TLS_WITHOUT_CERTIFICATE = """
host, port = sys.argv[1].removeprefix("tls://").split(":")
trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
with trusting.wrap_socket(socket.create_connection((host, int(port)), 5)) as stream:
    print("reached", stream.recv(100))
"""
