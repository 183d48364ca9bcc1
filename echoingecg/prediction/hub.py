"""A trained student as a folder that Hugging Face's hub takes and `echoingecg.load` reads: weights, card, terms.

Nothing in it is a pickle. Whoever has the folder can ask the student questions in words: its text tower and tokenizer
were made of the reports that it learned from (docs/privacy.md).
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from data_contracts import conventions, evaluation, manifest, prediction, student
from echoingecg.common import StoreError, UserError
from echoingecg.prediction.api import EcgModel

CARD = "README.md"
_STUDENT_FILES = (student.WEIGHTS, student.ARCHITECTURE, student.SCALER, student.TOKENIZER, manifest.FILENAME)
_TAGS = ["ecg", "echocardiography", "probabilistic-embedding", "medical"]
_METRICS = {"auroc": "roc_auc", "balanced_accuracy": "balanced_accuracy"}  # ours -> the hub's name
_EVERYBODY = "all"


def export_hub(model: EcgModel, folder: Path | str, *, name: str, licence: str) -> list[Path]:
    """Writes a student, its reading card and a model card into a folder; `echoingecg.load(folder)` reads it.

    Args:
        model: of `echoingecg.load`, from a student's artefact.
        folder: new or empty.
        name: of the model, for its card: NAME or OWNER/NAME.
        licence: of the weights, in the hub's short form, such as `cc-by-nc-4.0`; the teacher's licence may bind them.

    Returns:
        The files written.

    Raises:
        StoreError: the student is no artefact, or the folder is not empty.
        DamagedError: a file of the student or of its evaluation is not what was published.
    """
    folder = Path(folder)
    if manifest.manifest_in(model.student) is None:
        raise StoreError(f"{model.student} is no student's artefact: import-released makes one of released weights")
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    sources = [manifest.checked_file(model.student, file) for file in _STUDENT_FILES]
    if model.evaluation is not None:
        cards = (prediction.FILENAME, *map(prediction.FILENAME_OF_SET.format, conventions.LEAD_SETS))
        sources += [manifest.checked_file(model.evaluation, file) for file in cards]
    written = [Path(shutil.copyfile(path, folder / path.name)) for path in sources if path.is_file()]
    (folder / CARD).write_text(_card(model, name, licence), encoding="utf-8")
    return [*written, folder / CARD]


def push_to_hub(model: EcgModel, repository: str, *, licence: str, private: bool = True, folder: Path | str) -> str:
    """Writes the folder of `export_hub` and uploads it; returns the address of the commit.

    Args:
        model, licence: as in `export_hub`.
        repository: OWNER/NAME, made if it is not there.
        private: whether a repository that is made is seen by its owner alone.
        folder: new or empty; keeps what was uploaded.

    Raises:
        UserError: the hub refuses, or cannot be reached.
        StoreError, DamagedError: as `export_hub`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    export_hub(model, folder, name=repository, licence=licence)
    try:
        hub = HfApi()
        hub.create_repo(repository, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="A trained student"))
    except (HfHubHTTPError, HTTPError, HFValidationError, OSError) as fault:
        raise UserError(f"{repository} cannot be written to ({type(fault).__name__}): is HF_TOKEN set?") from fault


def _card(model: EcgModel, name: str, licence: str) -> str:
    """The evaluation's model card behind the front matter that the hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    address, name = name if "/" in name else f"OWNER/{name}", name.rpartition("/")[2]
    results = [
        EvalResult(
            task_type="binary-classification", task_name=f"{row['endpoint']} by {row['protocol']}",
            dataset_type="echoingecg", dataset_name=f"test split: ECGs of {_origin(model)}",
            metric_type=_METRICS[row["metric"]], metric_name=row["metric"], metric_value=row["value"],
        )
        for row in _headline_metrics(model)
    ]  # fmt: skip
    data = ModelCardData(
        license=licence, library_name="echoingecg", tags=_TAGS,
        model_name=name, eval_results=results or None,
    )  # fmt: skip
    body = f"# {name}\n\n{prediction.NOTICE} {model.no_card}\n"
    if model.evaluation is not None and (model.evaluation / evaluation.MODEL_CARD).is_file():
        body = manifest.checked_file(model.evaluation, evaluation.MODEL_CARD).read_text(encoding="utf-8")
    use = f'```python\nimport echoingecg\n\nmodel = echoingecg.load("hf-hub:{address}")\n```\n'
    return f"---\n{data.to_yaml()}\n---\n\n{body}\n## Use\n\n{use}"


def _origin(model: EcgModel) -> str:
    return conventions.origin_in_words(model.reader.card.card.judged_on)


def _headline_metrics(model: EcgModel) -> Iterator[dict[str, str]]:
    """Rows of METRICS over all test ECGs, by the protocol that answers."""
    if model.evaluation is None or not (model.evaluation / evaluation.METRICS.filename).is_file():
        return
    answered_by = model.reader.card.card.answered_by
    for row in evaluation.METRICS.read(model.evaluation).to_pylist():
        is_headline = row["protocol"] == answered_by and row["group"] == _EVERYBODY and row["metric"] in _METRICS
        if is_headline and row["value"] is not None:
            yield row
