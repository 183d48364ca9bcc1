"""Licences of everything that an installation brings: of known families, or named with its duty in NOTICE; and hashes.

The closure starts at pyproject.toml and follows the metadata of what is installed here.
"""

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

from helpers.paths import ROOT

ALLOWED = {
    "0BSD", "APACHE-2.0", "APACHE-2.0 WITH LLVM-EXCEPTION", "BSD-2-CLAUSE", "BSD-3-CLAUSE", "BSL-1.0", "CC0-1.0",
    "CNRI-PYTHON", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "PYTHON-2.0", "UNLICENSE", "ZLIB",
}  # fmt: skip
FAMILIES = {  # older metadata has words instead of SPDX expressions
    r"apache": "APACHE-2.0",
    r"\bmit\b": "MIT",
    r"\bbsd\b": "BSD-3-CLAUSE",
    r"\bisc\b": "ISC",
    r"\bpsf|python software foundation|matplotlib": "PSF-2.0",
    r"mpl|mozilla": "MPL-2.0",
}
COPYLEFT = re.compile(r"\b[al]?gpl|general public|affero|non-?commercial|proprietary", re.IGNORECASE)
IN_NOTICE = {
    "text-unidecode": "Artistic or GPL: the first is chosen",
    "av": "its wheel carries FFmpeg with x264 and x265",
    "cuda-toolkit": "NVIDIA, with PyTorch's CUDA wheels",
}
PATTERNS_IN_NOTICE = {r"nvidia-": "nvidia-"}
SILENT = {"icechunk": "Apache License"}  # no licence in the metadata; words of the licence file in its wheel


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def closure() -> dict[str, Distribution]:
    """Every installed distribution that the project needs, directly or through others, by its plain name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["teacher"], *extras["pipeline"]]
    waiting, known = [Requirement(text) for text in needed if not text.startswith("echoingecg")], {}
    while waiting:
        need = waiting.pop()
        if name_of(need.name) in known or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        try:
            found = distribution(need.name)
        except PackageNotFoundError:
            continue  # of another platform or an extra
        known[name_of(need.name)] = found
        asked = ["", *need.extras]
        further = [Requirement(text) for text in found.requires or []]
        waiting += [one for one in further if not one.marker or any(one.marker.evaluate({"extra": e}) for e in asked)]
    return known


def statement(found: Distribution) -> str:
    """What the metadata states: the SPDX expression, else the licence in one line, else the classifiers."""
    metadata = found.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    lines = (metadata.get("License") or "").strip().splitlines()
    kinds = [one.rpartition(" :: ")[2] for one in metadata.get_all("Classifier") or [] if one.startswith("License")]
    return " / ".join([*(lines if len(lines) == 1 else []), *kinds])


def is_allowed(text: str) -> bool:
    """Every part of a conjunction, and one of each choice."""
    if not text.strip():
        return False
    for part in re.split(r"\s+AND\s+(?![^(]*\))", text):
        choices = [choice.strip(" ()").upper() for choice in re.split(r"\s+OR\s+", part)]
        if not any(choice in ALLOWED for choice in choices) and not _is_of_a_family(part):
            return False
    return True


def _is_of_a_family(words: str) -> bool:
    return not COPYLEFT.search(words) and any(re.search(one, words, re.IGNORECASE) for one in FAMILIES)


def test_every_dependency_has_a_licence_that_is_allowed_or_stands_in_the_notice() -> None:
    found = closure()
    assert len(found) > 100
    assert {"torch", "prefect", "numpy", "icechunk"} <= set(found)
    refused = {name: statement(one) for name, one in found.items() if not is_allowed(statement(one))}
    explained = {
        name for name in refused if name in IN_NOTICE or name in SILENT or any(map(name.startswith, PATTERNS_IN_NOTICE))
    }
    assert {name: text for name, text in refused.items() if name not in explained} == {}


def test_the_notice_names_what_it_must() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in (*IN_NOTICE, *PATTERNS_IN_NOTICE.values(), "ECHO-CLIP", "CC BY-NC-ND", "ATTRIBUTION.md"):
        assert name in notice
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "NOTICE" in project["license-files"]
    assert "NOTICE" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    weak = {name for name, one in closure().items() if "MPL" in statement(one) or "Mozilla" in statement(one)}
    assert {name for name in weak if name not in notice} == set()


def test_the_silent_ones_say_it_in_their_wheel() -> None:
    for name, licence in SILENT.items():
        files = [one for one in distribution(name).files or [] if "LICENSE" in one.name.upper()]
        assert any(licence in one.read_text(encoding="utf-8") for one in files), name


def test_every_dependency_has_its_version_and_hashes_in_the_lock_files() -> None:
    """`pip install --require-hashes` fails on a package that is not there, and on a file of another hash."""
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    pinned = {name_of(name): version for name, version in pinned.items()}
    entry = re.compile(
        r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)[^\\\n]*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE
    )
    entries = entry.findall((ROOT / "requirements.hashes.txt").read_text(encoding="utf-8"))
    hashed = {name_of(name): version for name, version, _ in entries}
    assert len(hashed) == len(entries) > 150
    assert {name: version for name, version in hashed.items() if pinned.get(name, version) != version} == {}
    assert set(closure()) - set(hashed) - {"setuptools"} == set()


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("MIT", True), ("Apache-2.0 AND (MIT OR GPL-3.0-only)", True), ("MIT AND GPL-3.0-only", False), ("", False),
        ("GPL-2.0-or-later", False), ("GNU Lesser General Public License v3 (LGPLv3)", False), ("BSD", True),
        ("LicenseRef-NVIDIA-Proprietary", False), ("Artistic License / GNU General Public License (GPL)", False),
        ("Apache-2.0 WITH LLVM-exception", True), ("Free for non-commercial use", False), ("MIT License", True),
    ],
)  # fmt: skip
def test_the_check_tells_them_apart(text: str, allowed: bool) -> None:
    assert is_allowed(text) is allowed
