"""Sockets on which processes listen, as the kernel lists them, and what another user of the machine gets from them."""

import ipaddress
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

NOBODY = 65534
_LISTENING = "0A"
# What a stranger may see: static files of Prefect's UI, and whether a service lives.
OPEN_PATHS = ("/", "/health", "/api/health")
_PATHS = (
    *OPEN_PATHS, "/status", "/metrics", "/json/identity.json", "/info/main/workers.html", "/individual-workers",
    "/api/deployments/name/distil/distil", "/api/admin/settings", "/moto-api/data.json", "/echoingecg?list-type=2",
)  # fmt: skip
AS_NOBODY = f"""
import json, os, socket, ssl, sys
"".encode("idna"), "".encode("latin-1")  # loaded now: another user may not be able to read this environment's files
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""
# What another user tries on a Dask scheduler or worker, whose address is the first argument.
DASK_AS_NOBODY = f"""
import distributed.comm.tcp
from distributed import Client
{AS_NOBODY}
"""
PLAIN_CLIENT = """
with Client(sys.argv[1].replace("tls", "tcp"), timeout=3) as client:
    print("reached", client.submit(os.getuid).result())
"""
NO_CERTIFICATE = """
host, port = sys.argv[1].removeprefix("tls://").split(":")
trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
with trusting.wrap_socket(socket.create_connection((host, int(port)), 5)) as stream:
    print("reached", stream.recv(100))
"""
_SPY = """
paths, ports = json.loads(sys.argv[1])
for port in ports:
    for path in paths:
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as stream:
                stream.sendall(f"GET {path} HTTP/1.0\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n".encode())
                stream.settimeout(2)
                while len(answer) < 4096 and (more := stream.recv(4096)):
                    answer += more
        except OSError:
            pass
        print(json.dumps([port, path, answer.decode("latin-1")]))
"""


class Listening(NamedTuple):
    """A socket that waits for connections: its own address and port, the process, and its command."""

    host: str
    port: int
    process: int
    command: str

    @property
    def is_on_loopback(self) -> bool:
        address = ipaddress.ip_address(self.host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def tree(process: int) -> list[psutil.Process]:
    """A process and all that it has started and that is still its descendant."""
    try:
        return [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def listening(processes: Iterable[psutil.Process]) -> set[Listening]:
    """Every TCP socket, IPv4 and IPv6, on which one of the processes listens, from /proc/net/tcp and tcp6."""
    owners: dict[str, psutil.Process] = {}
    for process in processes:
        try:
            for link in Path(f"/proc/{process.pid}/fd").iterdir():
                if match := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())):
                    owners[match[1]] = process
        except OSError:  # it has ended, or closed the file
            continue
    sockets = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            row = line.split()
            if row[3] == _LISTENING and (owner := owners.get(row[9])) is not None:
                address, _, port = row[1].partition(":")
                words = bytes.fromhex(address)
                host = b"".join(words[first : first + 4][::-1] for first in range(0, len(words), 4))
                sockets.add(Listening(socket.inet_ntop(family, host), int(port, 16), owner.pid, _command(owner)))
    return sockets


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def strangers_answers(ports: Iterable[int]) -> list[tuple[int, str, str]]:
    """What another user reads over HTTP from ports of 127.0.0.1: port, path, and the answer's beginning."""
    asked = json.dumps([_PATHS, sorted(ports)])
    done = subprocess.run([sys.executable, "-c", AS_NOBODY + _SPY, asked], capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def told_to_strangers(answers: Iterable[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """The answers that are more than a refusal, a static page, or that a service lives."""
    return [each for each in answers if re.match(r"HTTP/1\.\d 2", each[2]) and each[1] not in OPEN_PATHS]


def outside_addresses() -> list[str]:
    """This machine's IPv4 addresses but loopback."""
    found: list[Any] = [each for addresses in psutil.net_if_addrs().values() for each in addresses]
    hosts = [each.address for each in found if each.family == socket.AF_INET]
    return [host for host in hosts if not ipaddress.ip_address(host).is_loopback]
