"""Every move of an alias is written down; rollback goes back along what was written, as often as it is asked."""

import getpass
import json
import time

import pytest

from data_contracts.monitoring import AliasMove
from echoingecg.common import StoreError
from flows.cli import main
from tasks.operations.retrain import roll_back
from tasks.operations.verify_and_collect import garbage_collect
from tasks.store import Artefact, ArtefactStore, Built, Plan, read_moves


def publish(store: ArtefactStore, name: str) -> Artefact:
    plan = Plan("student", 1, 1, {"name": name}, {}, {})
    with store.locked(plan), store.building(plan) as folder:
        (folder / "file").write_text(name)
        return store.publish(plan, folder, Built({}), time.monotonic())


def test_a_line_for_each_move_says_who_when_from_to_and_why(
    store: ArtefactStore, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = publish(store, "a"), publish(store, "b")
    place = ["-w", str(store.workspace.root)]
    main.app(["artefacts", "alias", "production", str(a), *place], standalone_mode=False)
    first = store.workspace.alias_moves.read_bytes()
    main.app(["artefacts", "alias", "production", str(b), "--why", "the ward asked", *place], standalone_mode=False)
    store.set_alias("other", a)
    assert store.workspace.alias_moves.read_bytes().startswith(first), "lines are added, never changed"
    lines = [json.loads(line) for line in store.workspace.alias_moves.read_text().splitlines()]
    assert [(line["alias"], line["before"], line["after"], line["kind"], line["why"]) for line in lines] == [
        ("production", "", str(a), "by hand", ""),
        ("production", str(a), str(b), "by hand", "the ward asked"),
        ("other", "", str(a), "by hand", ""),
    ]
    assert {line["who"].partition("@")[0] for line in lines} == {getpass.getuser()}
    capsys.readouterr()
    main.app(["artefacts", "moves", "production", *place], standalone_mode=False)
    assert f"production: {a} -> {b}, by hand: the ward asked" in capsys.readouterr().out.splitlines()[1]


def test_rollback_goes_further_back_each_time_and_gc_keeps_its_aim(
    store: ArtefactStore, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = (publish(store, name) for name in "abc")
    with pytest.raises(StoreError, match="no alias 'production'"):
        roll_back(store, "production")
    for artefact in (a, b, c):
        store.set_alias("production", artefact)
    main.app(["rollback", "production", "--why", "worse", "-w", str(store.workspace.root)], standalone_mode=False)
    assert capsys.readouterr().out == f"production -> {b} (was {c})\n"
    assert not any(a.version in line or b.version in line for line in garbage_collect(store, False, force=True))
    assert roll_back(store, "production") == (b, a)
    with pytest.raises(StoreError, match=f"'production' has named nothing but {a}, as far as"):
        roll_back(store, "production")
    store.set_alias("production", c)
    assert roll_back(store, "production")[1] == a, "from c back to a, which it named before"
    assert [(move.kind, move.why) for move in read_moves(store.workspace)][3] == ("rolled back", "worse")


def test_a_move_that_was_written_and_not_carried_out_and_a_cut_line_mislead_nobody(store: ArtefactStore) -> None:
    a, b, c = (publish(store, name) for name in "abc")
    store.set_alias("production", a)
    store.set_alias("production", b)
    moves = store.workspace.alias_moves
    lost = AliasMove(moved="", who="", alias="production", before=str(b), after=str(c), kind="by hand")
    moves.write_bytes(moves.read_bytes() + lost.model_dump_json().encode() + b'\n{"moved": "20')
    assert roll_back(store, "production") == (b, a)
    assert [move.after for move in read_moves(store.workspace, "production")] == [str(a), str(b), str(c), str(a)]
