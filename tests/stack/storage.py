"""moto's S3 behind the stack's keys, in place of SeaweedFS: requests must be signed with them (AWS Signature V4)."""

import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/\d{8}/(?P<region>[^/,]+)/s3/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def with_signature(application: Application, keys: Credentials) -> Application:
    """Answers 403 to a request that is not signed with the keys."""

    def answer(environment: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        if is_signed(Request(environment), keys):
            return application(environment, begin)
        return Response("<Error><Code>AccessDenied</Code></Error>", 403)(environment, begin)

    return answer


def is_signed(request: Request, keys: Credentials) -> bool:
    """Whether the signature is the one that botocore gives the same request with these keys."""
    stated = _SIGNED.fullmatch(request.headers.get("Authorization", ""))
    date = request.headers.get("X-Amz-Date")
    if stated is None or date is None or stated["key"] != keys.access_key:
        return False
    signed = {name: request.headers.get(name, "") for name in stated["headers"].split(";")}
    as_sent = request.environ["REQUEST_URI"]  # decoded, it could not be encoded as it was
    same = AWSRequest(request.method, f"http://{request.host}{as_sent}", headers=signed)
    same.context["timestamp"] = date
    check = S3SigV4Auth(keys, "s3", stated["region"])
    return check.signature(check.string_to_sign(same, check.canonical_request(same)), same) == stated["signature"]


if __name__ == "__main__":
    own = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    run_simple("127.0.0.1", int(sys.argv[1]), with_signature(DomainDispatcherApplication(create_backend_app), own),
               threaded=True)  # fmt: skip
