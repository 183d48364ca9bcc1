"""The passwords of the services: from `.env`, or made once at random."""

import secrets
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

EXAMPLE: Final = Path(__file__).resolve().parents[1] / ".env.example"


def random_secrets() -> str:
    """`.env.example` with its passwords filled in."""
    random = {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "PREFECT_AUTH": f"echoingecg:{secrets.token_urlsafe(24)}",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
    }
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}{random.get(line.removesuffix('='), '')}\n" for line in lines)


def kept_secrets(path: Path) -> dict[str, str]:
    """What the file holds; written first, for its owner alone, if it is not there."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(random_secrets(), encoding="utf-8")
    return {name: value for name, value in dotenv_values(path).items() if value}
