"""Offers the reports of a workspace to browsers on other machines: read-only, behind a password, nothing else of it."""

import base64
import binascii
import hmac
import os
import re
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from data_contracts.evaluation import FIGURES, MODEL_CARD, REPORT
from echoingecg.common import UserError

AUTH = "ECHOINGECG_REPORTS_AUTH"  # environment variable, user:password
_HEALTH = "/health"
_OFFERED = re.compile(rf"/evaluation/[0-9a-f]+/({re.escape(REPORT)}|{re.escape(MODEL_CARD)}|{FIGURES}/[\w.-]+\.png)")


class _Reports(SimpleHTTPRequestHandler):
    """Answers requests for reports, model cards and figures of evaluations.

    Args:
        auth: user:password that a browser must give.
    """

    server_version = "reports"
    sys_version = ""

    def __init__(self, *args: Any, auth: bytes, **kwargs: Any) -> None:
        self.auth = auth
        super().__init__(*args, **kwargs)

    def send_head(self) -> Any:
        path = self.path.partition("?")[0]
        if path == _HEALTH:
            self._refuse(HTTPStatus.NO_CONTENT)
        elif not self._is_known():
            self._refuse(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", 'Basic realm="reports", charset="UTF-8"'))
        elif not _OFFERED.fullmatch(path):
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            self.path = path
            return super().send_head()
        return None

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "private, no-store")
        super().end_headers()

    def _is_known(self) -> bool:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        try:
            return kind.lower() == "basic" and hmac.compare_digest(base64.b64decode(given, validate=True), self.auth)
        except (binascii.Error, ValueError):
            return False

    def _refuse(self, status: HTTPStatus, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def report_server(artefacts: Path, host: str, port: int) -> ThreadingHTTPServer:
    """The server, which listens already; `serve_forever` answers.

    Args:
        artefacts: folder of a workspace's artefacts.
        host: address to listen on; one that other machines reach belongs behind a proxy with TLS.
        port: 0 for a free one.

    Raises:
        UserError: no user and password in the environment, or the port is taken.
    """
    auth = os.environ.get(AUTH, "")
    user, _, password = auth.partition(":")
    if not (user and password):
        raise UserError(f"{AUTH} holds no user:password: reports are not offered to everybody")
    try:
        return ThreadingHTTPServer((host, port), partial(_Reports, auth=auth.encode(), directory=str(artefacts)))
    except OSError as fault:
        raise UserError(f"{host}:{port}: {fault.strerror}: choose another --host or --port") from fault
