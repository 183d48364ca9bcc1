"""moto's S3 behind the stack's keys, in place of SeaweedFS: requests must be signed with them (AWS Signature V4)."""

import hashlib
import hmac
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_STATED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/(?P<scope>\d{8}/[^/,]+/s3/aws4_request), ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def with_signature(application: Application, key: str, secret: str) -> Application:
    """Answers 403 to a request that is not signed with the keys."""

    def answer(environment: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        if is_signed(Request(environment), key, secret):
            return application(environment, begin)
        return Response("<Error><Code>AccessDenied</Code></Error>", 403)(environment, begin)

    return answer


def is_signed(request: Request, key: str, secret: str) -> bool:
    """Whether a request has the signature of these keys; docs.aws.amazon.com, "Create a signed AWS API request"."""
    stated = _STATED.fullmatch(request.headers.get("Authorization", ""))
    if stated is None or stated["key"] != key:
        return False
    path, _, query = request.environ["REQUEST_URI"].partition("?")  # as it was sent
    fields = sorted(field if "=" in field else f"{field}=" for field in query.split("&") if field)
    headers = (f"{name}:{' '.join(_header(request, name).split())}" for name in stated["headers"].split(";"))
    digest = request.headers.get("X-Amz-Content-Sha256", "")
    canonical = "\n".join([request.method, path, "&".join(fields), *headers, "", stated["headers"], digest])
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers.get("X-Amz-Date", ""), stated["scope"], hashed])
    signing = f"AWS4{secret}".encode()
    for part in (*stated["scope"].split("/"), text):
        signing = hmac.digest(signing, part.encode(), "sha256")
    return hmac.compare_digest(signing.hex(), stated["signature"])


def _header(request: Request, name: str) -> str:
    """A header by its name as it was sent: moto keeps names with underscores apart from the others."""
    key = name.upper().replace("-", "_")
    return str(request.environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", ""))


if __name__ == "__main__":
    keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    guarded = with_signature(DomainDispatcherApplication(create_backend_app), *keys)
    run_simple("127.0.0.1", int(sys.argv[1]), guarded, threaded=True, request_handler=MotoRequestHandler)
