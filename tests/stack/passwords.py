"""Passwords of the services: read from `.env`, or made at random. Run as a program, it prints a filled `.env`."""

import secrets
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"


def random_passwords() -> str:
    """Returns the text of `.env.example` with random passwords filled in."""
    random = {
        "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "PREFECT_AUTH": f"echoingecg:{secrets.token_urlsafe(24)}",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
    }
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}{random.get(line.removesuffix('='), '')}\n" for line in lines)


def kept_passwords(path: Path) -> dict[str, str]:
    """Reads the file; writes it first, readable for its owner alone, if it is not there."""
    from dotenv import dotenv_values  # `make .env` needs nothing but Python

    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(random_passwords(), encoding="utf-8")
    return {name: value for name, value in dotenv_values(path).items() if value}


if __name__ == "__main__":
    print(random_passwords(), end="")  # noqa: T201
