"""Reports for browsers: with the password, and nothing but reports."""

import base64
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from echoingecg.common import UserError
from flows.report_server import AUTH, report_server


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    version = tmp_path / "artefacts" / "evaluation" / "4f69"
    (version / "figures").mkdir(parents=True)
    for name, text in (
        ("report.html", "<p>the report</p>"),
        ("predictions.parquet", "p"),
        ("figures/roc-1.png", "png"),
    ):
        (version / name).write_text(text)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "pseudonym.key").write_text("secret")
    (version / "figures" / "link.png").symlink_to(tmp_path / "private")
    monkeypatch.setenv(AUTH, "ward:p:w")
    with report_server(tmp_path / "artefacts", "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_report_and_its_figures_open_with_the_password_alone(address: str) -> None:
    report = f"{address}/evaluation/4f69/report.html"
    for auth in (None, ("ward", "wrong"), ("", "")):
        refused = httpx.get(report, auth=auth)
        assert (refused.status_code, refused.text) == (401, "")
    for wrong in ("Bearer x", "Basic ???", "Basic " + base64.b64encode(b"ward").decode()):
        assert httpx.get(report, headers={"Authorization": wrong}).status_code == 401
    assert httpx.get(report).headers["WWW-Authenticate"].startswith("Basic ")
    assert httpx.get(report, auth=("ward", "p:w")).text == "<p>the report</p>"
    assert httpx.get(f"{address}/evaluation/4f69/figures/roc-1.png?v=1", auth=("ward", "p:w")).text == "png"
    assert httpx.get(f"{address}/health").status_code == 204


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/evaluation/",
        "/evaluation/4f69/",
        "/evaluation/4f69/predictions.parquet",
        "/evaluation/4f69/figures/",
        "/evaluation/4f69/figures/link.png/pseudonym.key",
        "/evaluation/4f69/../../../private/pseudonym.key",
        "/evaluation/4f69/figures/..%2f..%2f..%2f..%2fprivate%2fpseudonym.key",
        "/private/pseudonym.key",
    ],
)
def test_nothing_else_is_offered(address: str, path: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    password = base64.b64encode(b"ward:p:w").decode()
    with socket.create_connection((host, int(port)), timeout=10) as connection:  # a client would tidy the path
        connection.sendall(f"GET {path} HTTP/1.0\r\nAuthorization: Basic {password}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.split(b" ")[1] == b"404"
    assert b"secret" not in answer
    assert httpx.post(f"{address}{path}", auth=("ward", "p:w")).status_code == 501


def test_without_a_password_or_a_free_port_it_does_not_start(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="choose another --host or --port"):
        report_server(tmp_path, "127.0.0.1", int(address.rpartition(":")[2]))
    for value in ("", "user", ":password", "user:"):
        monkeypatch.setenv(AUTH, value)
        with pytest.raises(UserError, match="holds no user:password"):
            report_server(tmp_path, "127.0.0.1", 0)
