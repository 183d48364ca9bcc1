"""Care of a workspace: are the artefacts sound, and which does nothing need any more."""

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed, State

from flows.faults import one_line_faults
from flows.request import open_store
from tasks.base.progress import Reporter
from tasks.operations.verify_and_collect import garbage_collect, garbage_collect_shared, verify_artefacts


@flow(name="verify", flow_run_name="verify {workspace}", persist_result=False)
@one_line_faults
def verify(
    workspace: str = "workspace",
    artefacts: list[str] = [],  # noqa: B006 - see distil
    shared: bool = False,
) -> State:
    """Compare every file of the artefacts, and every row in the pools, with its checksum.

    Args:
        workspace: folder that holds pools and artefacts.
        artefacts: STAGE-VERSION or aliases; empty for all.
        shared: look at the copies in the shared store that the workspace has joined.
    """
    looked = verify_artefacts(open_store(workspace), artefacts, shared, Reporter("verify"))
    found = [{"artefact": name, "fault": fault} for name, faults in looked.items() for fault in faults]
    says = f"{len(looked)} artefacts, {len(found)} faults"
    if not found:
        return Completed(message=says)
    create_table_artifact(found, key="verify-faults", description=says)
    return Failed(message=f"{says}, the first: {found[0]['fault']}; run again from the stage at fault")


@flow(name="gc", flow_run_name="gc {workspace}", persist_result=False)
@one_line_faults
def gc(workspace: str = "workspace", delete: bool = False, shared: bool = False) -> State:
    """List, or delete, artefacts that no alias and no newest evaluation needs, and leftovers of killed runs.

    Args:
        workspace: folder that holds pools and artefacts.
        delete: delete them; without it, they are only listed.
        shared: in the shared store that the workspace has joined, for all machines.
    """
    lines = list((garbage_collect_shared if shared else garbage_collect)(open_store(workspace), delete))
    create_table_artifact([{"folder": line} for line in lines], key="gc-folders", description=f"{len(lines)} folders")
    return Completed(message=f"{len(lines)} folders {'deleted' if delete else 'would be deleted'}")
