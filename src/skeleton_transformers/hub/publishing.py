"""Publishing a model: everything that belongs to it goes to the Hub in one commit.

```python
from skeleton_transformers.hub.publishing import publish

publish("runs/hitrs_ntu60", "me/hitrs-ntu60", private=True)
```
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import AutoFeatureExtractor

from ..data.motion_synthesis import synthesize_sequence
from ..feature_extraction_skeleton import SkeletonFeatureExtractor
from ..modeling_loading import CheckpointError
from ..models.families import ENSEMBLE, FAMILIES, ROLES, get_family
from ..skeletons import convert_layout
from ..visualization.rendering import render_gif
from .model_card import write_model_card
from .privacy import find_private, remove_paths


logger = logging.getLogger(__name__)

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CARD, LABELS, PREVIEW, LICENSE = "README.md", "labels.json", "preview.gif", "LICENSE"
# Files of a run that are published beside the model where they are there.
RUN_FILES = ("recipe.yaml", "results.json")

_PREVIEW_FRAMES = 48
_ATTEMPTS = 3


class SavedModel(NamedTuple):
    """A folder that holds a usable model.

    Attributes:
        model: the model, of the class that was saved.
        role: what it is for, a name of `ROLES`.
        extractor: its feature extractor.
        weights: names of the files with the weights.
    """

    model: Any
    role: str
    extractor: SkeletonFeatureExtractor
    weights: tuple[str, ...]


def publish(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
    preview: bool = True,
    commit_message: str = "Upload model",
) -> str:
    """Upload a saved model with all that belongs to it, in one commit.

    These are the weights (safetensors), `config.json`, `preprocessor_config.json`, the label map (`labels.json`), the card (`README.md`,
    written if the folder has none), the recipe and the results of the run (`recipe.yaml`, `results.json`), `preview.gif` and
    `LICENSE`; nothing else of the folder. Absolute paths in them are cut to their last part, and code blocks of the card load
    the model from `repo_id`. The folder itself stays as it is.

    Args:
        folder: folder of `save_pretrained`, or the `output_dir` of an example script.
        repo_id: `owner/name`, or a name under your own account; the repository is made if it is not there.
        private: whether a new repository is private; a public one that is there already is refused.
        revision: branch, made if it is not there; by default the main one.
        create_pr: open a pull request instead of changing the branch. The repository has to be there.
        token: token of the Hub; by default the one of `hf auth login` or `HF_TOKEN`.
        preview: whether to draw a preview, of a synthetic recording, where the folder has none.
        commit_message: title of the commit.

    Returns:
        Address of the commit, or of the pull request.

    Raises:
        FileNotFoundError: the folder, or the repository or branch of a pull request, is not there.
        CheckpointError: weights, configuration or feature extractor are missing or damaged, or do not fit each other.
        ValueError: a file names the machine or the account of its author.
        PermissionError: there is no token, or it does not allow the upload.
    """
    folder = Path(folder)
    saved = check_model_folder(folder)
    repo_id = full_repository_name(repo_id, token)
    with tempfile.TemporaryDirectory() as temporary:
        files = collect_files(folder, repo_id, saved, Path(temporary), preview)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        api = HfApi(token=token)
        try:
            return commit_files(
                api, repo_id, operations, commit_message, private=private, revision=revision, create_pr=create_pr
            )
        except RepositoryNotFoundError as error:
            raise FileNotFoundError(
                f"there is no repository {repo_id} that this token may see; a pull request needs one that exists"
            ) from error
        except RevisionNotFoundError as error:
            raise FileNotFoundError(f"{repo_id} has no branch {revision!r}") from error
        except HfHubHTTPError as error:
            raise _refusal(repo_id, error) from error


def full_repository_name(repo_id: str, token: str | None = None) -> str:
    """`owner/name` of a repository, the owner being the account of the token if only a name is given.

    Scripts ask before they train for hours, and so learn in time that there is no token.

    Raises:
        PermissionError: there is no token, or it is not valid.
    """
    if (token or get_token()) is None:
        raise PermissionError(
            f"no token to write to {repo_id} with: run `hf auth login`, set HF_TOKEN, or pass token=..."
        )
    try:
        account = HfApi(token=token).whoami()["name"]
    except HfHubHTTPError as error:
        raise _refusal(repo_id, error) from error
    return repo_id if "/" in repo_id else f"{account}/{repo_id}"


def _refusal(repo_id: str, error: HfHubHTTPError) -> Exception:
    """What to raise instead of an answer of the Hub."""
    status = error.response.status_code
    if status not in (401, 403):
        return error
    reason = "is not valid" if status == 401 else "does not allow writing there"
    return PermissionError(
        f"{repo_id}: the token {reason} (HTTP {status}); make a write token at https://huggingface.co/settings/tokens"
    )


def commit_files(
    api: HfApi,
    repo_id: str,
    operations: list[CommitOperationAdd],
    message: str,
    *,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
) -> str:
    """One commit to a repository, which is made if it is not there; see [`publish`]. What was uploaded before is not sent again."""
    if not create_pr:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.model_info(repo_id).private:  # it was there before
            raise ValueError(
                f"{repo_id} is public already; make it private in its settings, or publish under another name"
            )
        if revision not in (None, "main"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        try:
            commit = api.create_commit(
                repo_id, operations, commit_message=message, revision=revision, create_pr=create_pr
            )
            break
        except HfHubHTTPError as error:
            if error.response.status_code < 500 or attempt == _ATTEMPTS - 1:
                raise
            logger.warning("%s: HTTP %d, trying again", repo_id, error.response.status_code)
            time.sleep(2**attempt)
    return commit.pr_url or commit.commit_url


def check_model_folder(folder: str | Path) -> SavedModel:
    """Load what a folder holds, and say what is wrong with it if that fails.

    Raises:
        FileNotFoundError: there is no such folder.
        CheckpointError: weights, configuration or feature extractor are missing or damaged, or do not fit each other.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder; name one that save_pretrained has made")
    config = _read_json(folder / "config.json", "call save_pretrained of the model")
    architecture = (config.get("architectures") or [""])[0]
    model_type = config.get("model_type")
    if model_type not in (*FAMILIES, ENSEMBLE.model_type):
        raise CheckpointError(
            f"{folder}: config.json names the family {model_type!r}; known families: {', '.join(FAMILIES)}"
        )
    family = ENSEMBLE if model_type == ENSEMBLE.model_type else get_family(model_type)
    roles = [role for role in ROLES if getattr(family, role) == architecture]
    if not roles:
        raise CheckpointError(
            f"{folder}: config.json names the class {architecture!r}, which {family.model_type} does not have"
        )
    weights: tuple[str, ...] = (WEIGHTS,)
    if (folder / INDEX).exists():
        shards = _read_json(folder / INDEX, "save the model again").get("weight_map", {})
        weights = (INDEX, *sorted(set(shards.values())))
    _check_weights(folder, weights, config)
    model = family.load(roles[0]).from_pretrained(folder)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(
                f"{folder}: the weights hold numbers that are not finite, in {name}; nobody can use them"
            )
    _read_json(
        folder / "preprocessor_config.json",
        "call save_pretrained of the feature extractor, which users need beside the model",
    )
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    try:
        extractor.check_model(model.config)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return SavedModel(model, roles[0], extractor, weights)


def _check_weights(folder: Path, weights: tuple[str, ...], config: Mapping[str, Any]) -> None:
    for name in weights:
        file = folder / name
        if not file.exists():
            pickles = [path.name for path in folder.glob("*.bin")]
            hint = f"{pickles[0]} is a pickle and is not published; " if pickles else ""
            raise CheckpointError(f"{folder}: there is no {name}; {hint}save the model with save_pretrained")
        if name == INDEX:
            continue
        try:
            with safe_open(file, framework="pt") as tensors:
                if "classifier.weight" in tensors.keys():
                    classes, labels = tensors.get_slice("classifier.weight").get_shape()[0], config.get("id2label")
                    # Two labels are the default, which is not written.
                    if classes != (2 if labels is None else len(labels)):
                        raise CheckpointError(
                            f"{folder}: the classifier has {classes} classes, but id2label in config.json has "
                            f"{2 if labels is None else len(labels)} labels; put the label map that the model was trained with there"
                        )
        except SafetensorError as error:
            raise CheckpointError(f"{file}: no valid safetensors file ({error}); save the model again") from error


def _read_json(file: Path, remedy: str) -> dict[str, Any]:
    if not file.exists():
        raise CheckpointError(f"{file.parent}: there is no {file.name}; {remedy}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: not valid JSON ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: an object is expected, got {type(content).__name__}; {remedy}")
    return content


def collect_files(
    folder: Path, repo_id: str, saved: SavedModel, temporary: Path, preview: bool = True
) -> dict[str, bytes | str]:
    """What is published: name in the repository -> content, or path of a large file.

    Raises:
        ValueError: a file names the machine or the account of its author.
    """
    files: dict[str, bytes | str] = {}
    card = folder / CARD
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("config.json", "preprocessor_config.json")}
    texts |= {name: (folder / name).read_text(encoding="utf-8") for name in RUN_FILES if (folder / name).exists()}
    if saved.role in ("action_recognition", "action_detection"):
        labels = {str(index): label for index, label in sorted(saved.model.config.id2label.items())}
        texts[LABELS] = json.dumps(labels, indent=1, ensure_ascii=False) + "\n"
    if not card.exists():
        card = _write_plain_card(saved, repo_id, temporary, texts.get("recipe.yaml"))
    texts[CARD] = _point_to(repo_id, card.read_text(encoding="utf-8"))
    texts[LICENSE] = _license(folder)
    public = tuple(repo_id.split("/"))
    for name, text in texts.items():
        text = remove_paths(text)
        private = find_private(text, public)
        if private:
            line = next(number for number, row in enumerate(text.splitlines(), 1) if private[0] in row)
            raise ValueError(
                f"{folder / name}, line {line}: {private[0]!r} is a name of this machine or of its user; take it out before you publish"
            )
        files[name] = text.encode()
    for name in saved.weights:
        if name != INDEX:
            with safe_open(folder / name, framework="pt") as tensors:
                private = find_private(json.dumps(tensors.metadata() or {}), public)
            if private:
                raise ValueError(
                    f"{folder / name}: its metadata hold {private[0]!r}; save the model again without them"
                )
        files[name] = str(folder / name)
    if (folder / PREVIEW).exists():
        files[PREVIEW] = str(folder / PREVIEW)
    elif preview and (picture := draw_preview(saved, temporary / PREVIEW)) is not None:
        files[PREVIEW] = str(picture)
    return files


def draw_preview(saved: SavedModel, path: Path) -> Path | None:
    """A moving picture of what the model gets, and of what it says to that, from a synthetic recording.

    Recordings of corpora are not ours to show. None where the synthetic body lacks joints of the layout.
    """
    layout, extractor = saved.extractor.skeleton_layout, saved.extractor
    sample = synthesize_sequence(index=3, noise=False)
    keypoints, found = convert_layout(sample.keypoints, "ntu25", layout)
    if not found.all() or extractor.num_channels != 3:
        logger.warning(
            "no preview: there is no synthetic body in layout %s with %d channels", layout.name, extractor.num_channels
        )
        return None
    keypoints, frame_mask = keypoints[:, :_PREVIEW_FRAMES], sample.frame_mask[:, :_PREVIEW_FRAMES]
    title = "a synthetic recording"
    if saved.role == "action_recognition":
        inputs = extractor(keypoints, frame_mask, source_frame_rate=30.0, return_tensors="pt")
        with torch.no_grad():
            scores = saved.model(**inputs).logits[0].softmax(-1)
        title = f"{saved.model.config.id2label[int(scores.argmax())]} ({100 * float(scores.max()):.0f} %)"
    return render_gif(keypoints, layout, path, frame_mask, title=title, frame_rate=30.0, size=(240, 240))


def _write_plain_card(saved: SavedModel, repo_id: str, temporary: Path, recipe: str | None = None) -> Path:
    model, extractor = saved.model, saved.extractor
    return write_model_card(
        temporary,
        model_name=repo_id.split("/")[-1],
        model_summary=f"{type(model).__name__} for sequences of {extractor.skeleton_layout.num_joints} joints.",
        task=saved.role.replace("_", "-") if saved.role not in ("encoder", "pretraining") else "feature-extraction",
        layout=extractor.skeleton_layout,
        preprocessing=extractor.to_dict(),
        training_data="not recorded",
        citation=model.config.citation,
        recipe=recipe,
        repo_id=repo_id,
    )


def _point_to(repo_id: str, card: str) -> str:
    """The card, whose code loads the model from the repository instead of from a folder."""

    def repoint(block: re.Match[str]) -> str:
        return re.sub(r"(from_pretrained\(|model=)([\"'])[^\"']*\2", rf"\g<1>\g<2>{repo_id}\g<2>", block[0])

    return re.sub(r"```python\n.*?```", repoint, card, flags=re.DOTALL)


def _license(folder: Path) -> str:
    """The licence in the folder, or the one of the package."""
    if (folder / LICENSE).exists():
        return (folder / LICENSE).read_text(encoding="utf-8")
    for name in ("licenses/LICENSE", "LICENSE"):
        text = metadata.distribution("skeleton_transformers").read_text(name)
        if text:
            return text
    raise FileNotFoundError(f"{folder}: put a LICENSE beside the model; the installed package brings none")


__all__ = [
    "SavedModel",
    "check_model_folder",
    "collect_files",
    "commit_files",
    "draw_preview",
    "full_repository_name",
    "publish",
]
