"""A person in front of a browser through a day of operation: own recipe, cancel, retry, pause, promote, roll back."""

import re
from pathlib import Path
from typing import Any

import pytest

from data_contracts.student import HISTORY
from echoingecg.recipe import write_recipe
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.servers.prefect_server import LIMIT, Server, server_at, serving, started, wait_for
from helpers.ui import choose, field, shoot, tab

EPOCHS = 80  # long enough to be cancelled in the middle


class Person:
    """What a person does on the pages of the UI, and what the server then knows."""

    def __init__(self, page: Any, server: Server) -> None:
        self.page, self.server = page, server

    def open_form(self, deployment: str) -> None:
        self.page.goto(f"{self.server.ui}/deployments")
        self.page.get_by_role("link", name=deployment, exact=True).first.click()
        self.page.wait_for_url("**/deployments/deployment/**")
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run").click()

    def fill(self, name: str, value: str) -> None:
        field(self.page, name).locator("textarea").fill(value)

    def submit(self, flow: str) -> str:
        """Submits the form; opens the new run's page and returns its id."""
        before = self.runs(flow)
        self.page.get_by_role("button", name="Submit").click()
        wait_for(lambda: set(self.runs(flow)) - set(before), f"a run of {flow}")
        (run,) = set(self.runs(flow)) - set(before)
        self.open_run(run)
        return run

    def open_run(self, run: str) -> None:
        self.page.goto(f"{self.server.ui}/runs/flow-run/{run}")
        self.page.locator(".state-badge").first.wait_for()

    def runs(self, flow: str) -> list[str]:
        asked = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
        return [run["id"] for run in self.server.post("flow_runs/filter", asked)]

    def press(self, name: str) -> None:
        """A button above the run, and the question that it asks."""
        self.page.get_by_role("button", name=name).first.click()
        self.page.locator(".p-modal__footer button:not(.p-modal__close-button)").first.click()

    def see_state(self, name: str, limit: float = LIMIT) -> None:
        """Waits, at most so many seconds, until the page shows a state."""
        self.page.locator(".state-badge", has_text=re.compile(f"^{name}$")).first.wait_for(timeout=limit * 1000)

    def artifact(self, run: str, key: str) -> dict[str, Any]:
        asked = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
        (artifact,) = self.server.post("artifacts/filter", asked)
        return dict(artifact)

    def logs(self, run: str) -> list[str]:
        asked = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [line["message"] for line in self.server.post("logs/filter", asked)]


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_day_of_operation_in_a_browser(browser: Any, copied: Run, tmp_path: Path) -> None:
    root, store = copied.job.workspace.root, copied.job.store
    recipe = find_recipe("smoke", [f"student.epochs={EPOCHS}", f"student.patience={EPOCHS}"])
    (own := tmp_path / "own.yaml").write_text(write_recipe(recipe))
    other = run_stages(make_job(find_recipe("smoke", ["student.epochs=1"]), str(copied.job.export), str(root)))
    students = [run.artefacts["evaluation"] for run in (copied, other)]
    (tmp_path / "inbox").mkdir()
    server = server_at(tmp_path)
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    page.set_default_timeout(60_000)
    person = Person(page, server)
    arguments = ("smoke", "--workspace", str(root), "--inbox", str(tmp_path / "inbox"))
    with started(server, tmp_path):
        with serving(server, tmp_path, *arguments):
            promote_and_roll_back(person, store, *map(str, students))
            pause(person)
        with serving(server, tmp_path, *arguments):
            stays_paused(person)
            two_recipes(person, own)
            run = own_recipe(person, own, str(copied.job.export))
            curves(person, run)
            cancel_and_retry(person, run, root)
    (made,) = (item for item in store.here("student") if item.manifest.counts["epochs"] == EPOCHS)
    assert HISTORY.read(made.folder)["epoch"].to_pylist() == list(range(EPOCHS + 1))


def two_recipes(person: Person, own: Path) -> None:
    person.open_form("distil")
    choose(person.page, "recipe", "paper")
    person.fill("recipe_file", str(own))
    run = person.submit("distil")
    person.see_state("Failed")
    person.page.get_by_text("a run has one recipe, give one of the two").first.wait_for()
    shoot(person.page, "day-7-two-recipes")
    assert not any("Traceback" in line for line in person.logs(run)), "one line is enough"


def own_recipe(person: Person, own: Path, export: str) -> str:
    """The form's own recipe is smoke; a file that is typed takes its place."""
    person.open_form("distil")
    person.fill("recipe_file", str(own))
    person.fill("export", export)
    field(person.page, "public_data").locator(".p-toggle__control").click()
    shoot(person.page, "day-8-form")
    run = person.submit("distil")
    person.page.get_by_text(f"{own} on {export}").first.wait_for()
    person.page.get_by_text(re.compile(r"student: \d+/\d+ \(\d+ %\)")).first.wait_for(timeout=LIMIT * 1000)
    return run


def curves(person: Person, run: str) -> None:
    wait_for(lambda: "student-curves" in str(person.server.post("artifacts/filter", {})), "the curves")
    first = person.artifact(run, "student-curves")
    shoot(person.page, "day-9-running")
    wait_for(lambda: person.artifact(run, "student-curves")["description"] != first["description"], "more epochs")
    tab(person.page, "Artifacts")
    person.page.get_by_text("student-curves", exact=True).first.click()
    picture = person.page.locator('img[src^="data:image/png"]').first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 100
    person.page.get_by_role("columnheader", name="validation loss ecg echo").first.wait_for()
    shoot(person.page, "day-10-curves")


def cancel_and_retry(person: Person, run: str, root: Path) -> None:
    person.open_run(run)
    person.press("Cancel")
    person.see_state("Cancelled")
    shoot(person.page, "day-11-cancelled")
    assert list(root.glob("scratch/student/*/checkpoint.safetensors")), "nothing to go on from"
    before = [int(step) for line in person.logs(run) for step in re.findall(r"student: (\d+)/", line)]
    person.press("Retry")
    person.see_state("Completed", 4 * LIMIT)
    person.page.reload()
    shoot(person.page, "day-12-completed")
    steps = [int(step) for line in person.logs(run) for step in re.findall(r"student: (\d+)/", line)]
    assert steps == sorted(steps), "the retry began anew"
    assert len(steps) > len(before)


def promote_and_roll_back(person: Person, store: Any, first: str, second: str) -> None:
    person.open_form("promote")
    person.fill("challenger", first)
    person.submit("promote")
    person.see_state("Promoted")
    shoot(person.page, "day-1-promoted")
    person.open_form("promote")
    person.fill("challenger", second)
    run = person.submit("promote")
    wait_for(lambda: person.server.state(run)["type"] in ("COMPLETED", "FAILED"), "the comparison")
    person.page.reload()
    shoot(person.page, "day-2-kept")
    assert (person.server.state(run)["name"], store.aliases()["production"]) == ("Kept", first)
    person.open_form("compare")
    shoot(person.page, "day-3-compare")
    store.set_alias("production", store.get(second))
    person.open_form("rollback")
    person.fill("why", "too many referrals")
    person.submit("rollback")
    person.see_state("Completed")
    person.page.get_by_text(f"production: {first} takes the place of {second} again").first.wait_for()
    shoot(person.page, "day-4-rolled-back")
    assert store.aliases()["production"] == first


def schedule(person: Person) -> Any:
    person.page.goto(f"{person.server.ui}/deployments")
    person.page.get_by_role("link", name="retrain", exact=True).first.click()
    person.page.wait_for_url("**/deployments/deployment/**")
    return person.page.locator(
        ".deployment-schedule-card .p-toggle__control, [class*=schedule] .p-toggle__control"
    ).first


def pause(person: Person) -> None:
    switch = schedule(person)
    switch.wait_for()
    switch.click()
    shoot(person.page, "day-5-paused")
    wait_for(lambda: not any(_active(person)), "the pause")


def stays_paused(person: Person) -> None:
    schedule(person).wait_for()
    shoot(person.page, "day-6-after-restart")
    assert _active(person) == [False]
    wait_for(lambda: not person.server.get("deployments/name/retrain/retrain")["paused"], "the deployment")
    assert _active(person) == [False], "the person's pause stays, the one of the `serve` that ended is lifted"


def _active(person: Person) -> list[bool]:
    return [each["active"] for each in person.server.get("deployments/name/retrain/retrain")["schedules"]]
