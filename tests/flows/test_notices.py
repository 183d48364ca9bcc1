"""Promote, rollback and notifications on a real server: a message arrives at a real web server for each occasion."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.compute as pc
import pytest

from data_contracts.evaluation import PREDICTIONS
from helpers.cases.command_line import COMMAND
from helpers.cases.stage_runs import Run
from helpers.servers.prefect_server import Server, served, wait_for
from tasks.store import Artefact, ArtefactStore, Built, Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@contextmanager
def listener() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A web server's address, and the JSON that was posted to it."""
    posted: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *given: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}", posted
        web.shutdown()


def make_block(server: Server, kind: str, name: str, values: dict[str, object]) -> None:
    """A block as the UI makes it."""
    kinds = {one["slug"]: one for one in server.post("block_types/filter", {})}
    schema = server.post(
        "block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kinds[kind]["id"]]}}}
    )[0]  # fmt: skip
    document = {"name": name, "data": values, "block_schema_id": schema["id"], "block_type_id": kinds[kind]["id"]}
    server.post("block_documents/", document)


def end(server: Server, deployment: str, **parameters: object) -> tuple[str, str]:
    run = server.start_run(deployment, **parameters)
    wait_for(lambda: server.state(run)["type"] in ("COMPLETED", "FAILED", "CRASHED"), deployment)
    state = server.state(run)
    return str(state["name"]), str(state["message"])


def typed(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, **server.environment}
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, env=settings, check=False)


def test_promote_rollback_and_messages(copied: Run, tmp_path: Path) -> None:
    store, place = copied.job.store, str(copied.job.workspace.root)
    evaluation = str(copied.artefacts["evaluation"])
    (broken := tmp_path / "inbox" / "broken").mkdir(parents=True)
    (broken / "_COMPLETE").touch()
    arguments = ("smoke", "--workspace", place, "--inbox", str(broken.parent), "--cron", "0 3 1 1 *")
    with listener() as (address, posted), served(tmp_path, *arguments) as server:
        message = {"subject": "{{subject}}", "body": "{{body}}"}
        common = {"url": f"{address}/", "method": "POST", "allow_private_urls": True}
        make_block(server, "custom-webhook", "ward", {"name": "ward", "json_data": message, **common})
        make_block(server, "webhook", "plain", common)
        assert typed(server, "notify", "custom-webhook/nobody").returncode == 2
        made = typed(server, "notify", "custom-webhook/ward")
        assert (made.returncode, len(made.stdout.splitlines())) == (0, 4), made.stderr

        assert end(server, "promote/promote", challenger=evaluation) == (
            "Promoted",
            f"production: {evaluation} against nobody: there was no 'production' before",
        )
        assert store.aliases()["production"] == evaluation
        name, says = end(server, "rollback/rollback")
        assert (name, "has named nothing but" in says) == ("Failed", True)
        store.set_alias("production", copied.artefacts["student"])
        assert end(server, "rollback/rollback", why="worse")[0] == "Completed"
        assert store.aliases()["production"] == evaluation

        name, says = end(server, "retrain/retrain", recipe="smoke", public_data=True)
        assert name == "SetAside", says
        wait_for(lambda: posted, "the message on the export")
        assert posted[0]["subject"] == "echoingecg: export set aside"
        assert posted[0]["body"].startswith("broken refused: ")

        posted.clear()
        assert typed(server, "notify", "webhook/plain").returncode == 0
        name, says = end(server, "retrain/retrain", recipe="smoke", inbox=str(tmp_path / "nowhere"))
        assert name == "Failed", says
        wait_for(lambda: posted, "the message on the retrain")
        assert posted[0]["subject"] == "echoingecg: retrain failed"
        assert posted[0]["body"].endswith(says)

        posted.clear()
        clone(store, copied.artefacts["evaluation"])
        every = [
            {"field": "promotion.least_shared", "value": "1"},
            {"field": "promotion.protocol", "value": "zero_shot"},
        ]
        challenger = str(store.here("evaluation")[-1])
        name, says = end(server, "promote/promote", challenger=challenger, overrides=every)
        assert name == "Frozen", says
        wait_for(lambda: posted, "the message on the champion")
        assert posted[0]["subject"] == "echoingecg: champion frozen"

        assert typed(server, "notify", "--none").returncode == 0
        assert not [made for made in server.post("automations/filter", {}) if "frozen" in made["name"]]


def clone(store: ArtefactStore, evaluation: Artefact) -> None:
    """Publishes the evaluation again as that of another cohort: a patient of its test side is missing."""
    manifest = evaluation.manifest
    versions, recipe = (manifest.contract_version, manifest.code_version), manifest.recipe | {"draws": 0}
    plan = Plan("evaluation", *versions, recipe, {}, manifest.inputs)
    with store.locked(plan), store.building(plan) as folder:
        for name in manifest.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((store.folder("evaluation", evaluation.version) / name).read_bytes())
        table = PREDICTIONS.read(store.folder("evaluation", evaluation.version))
        tested = table.filter(pc.equal(table["split"], "test"))["patient_id"][0]
        PREDICTIONS.write(table.filter(pc.not_equal(table["patient_id"], tested)), folder)
        store.publish(plan, folder, Built(manifest.counts), time.monotonic())
