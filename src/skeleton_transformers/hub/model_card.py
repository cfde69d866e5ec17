"""Model cards: the README.md beside saved weights, with the metadata that the Hub reads."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from ..data.corpora import get_corpus, list_corpora
from ..skeletons import SkeletonLayout
from .results import eval_result, measured_section


TEMPLATE = Path(__file__).with_name("model_card_template.md")

_USES = {
    "action-recognition": "Naming the action in a cut recording of 3D skeletons with the layout below: {labels} classes.",
    "action-detection": "Finding actions, with their first and last frame, in untrimmed recordings of 3D skeletons with the layout below.",
    "motion-prediction": "Predicting how people in recordings of 3D skeletons with the layout below go on moving in the next moments.",
    "feature-extraction": "Features of 3D skeleton sequences with the layout below: for a classifier of your own, for retrieval, or as the "
    "start of fine-tuning.",
}

DEFAULT_LIMITATIONS = (
    "The model has learned from recordings of the kind named above: other sensors, other joint layouts, other viewpoints or "
    "other people may lower its accuracy, so measure it on your own recordings before you rely on it. It judges movements, "
    "not intentions, and is not made for identifying or assessing people."
)

# What a task is called on the Hub, and the example that the card shows. `{model}` is where the model is.
_TASKS: dict[str, tuple[str | None, str]] = {
    "action-recognition": (
        "video-classification",
        """import numpy as np
import torch

from skeleton_transformers import AutoModelForActionRecognition, SkeletonFeatureExtractor

extractor = SkeletonFeatureExtractor.from_pretrained("{model}")
model = AutoModelForActionRecognition.from_pretrained("{model}")

recordings = [np.random.default_rng(0).normal(size=(40, {joints}, {channels})).astype("float32")]
inputs = extractor(recordings, return_tensors="pt")
with torch.no_grad():
    probabilities = model(**inputs).logits.softmax(-1)
best = int(probabilities[0].argmax())
print(model.config.id2label[best], float(probabilities[0, best]))""",
    ),
    "action-detection": (
        None,
        """import numpy as np

from skeleton_transformers import AutoModelForActionDetection, SkeletonFeatureExtractor
from skeleton_transformers.evaluation.detection import frames_to_segments, predict_frames

extractor = SkeletonFeatureExtractor.from_pretrained("{model}")
model = AutoModelForActionDetection.from_pretrained("{model}").eval()

take = np.random.default_rng(0).normal(size=(300, {joints}, {channels})).astype("float32")
inputs = extractor(take)
probabilities = predict_frames(model, inputs["keypoints"][0], inputs["frame_mask"][0])
for segment in frames_to_segments(probabilities):
    print(model.config.id2label[segment.label], segment.start, segment.end, segment.confidence)""",
    ),
    "motion-prediction": (
        "time-series-forecasting",
        """import numpy as np
import torch

from skeleton_transformers import AutoModelForMotionPrediction, SkeletonFeatureExtractor

extractor = SkeletonFeatureExtractor.from_pretrained("{model}")
model = AutoModelForMotionPrediction.from_pretrained("{model}").eval()

observed = np.random.default_rng(0).normal(size=(40, {joints}, {channels})).astype("float32")
inputs = extractor(observed, source_frame_rate=extractor.frame_rate, return_tensors="pt")
with torch.no_grad():
    predicted = model(**inputs).predicted_keypoints
print(predicted.shape)  # (batch, persons, frames, joints, channels), where the extractor put the observed ones""",
    ),
    "feature-extraction": (
        "feature-extraction",
        """import numpy as np
import torch
from transformers import AutoModel

from skeleton_transformers import SkeletonFeatureExtractor

extractor = SkeletonFeatureExtractor.from_pretrained("{model}")
encoder = AutoModel.from_pretrained("{model}")

recordings = [np.random.default_rng(0).normal(size=(40, {joints}, {channels})).astype("float32")]
inputs = extractor(recordings, return_tensors="pt")
with torch.no_grad():
    features = encoder(**inputs).pooler_output
print(features.shape)""",
    ),
}

_SHOWN_PROVENANCE = (
    "seed",
    "label_fraction",
    "label_sampling",
    "num_train_samples",
    "num_eval_samples",
    "num_samples",
    "data_checksum",
    "git_commit",
    "device",
    "num_processes",
    "wall_time_seconds",
)


def write_model_card(
    folder: str | Path,
    *,
    model_name: str,
    model_summary: str,
    layout: SkeletonLayout,
    preprocessing: Mapping[str, Any],
    training_data: str,
    citation: str,
    recipe: str | Mapping[str, Any] | None = None,
    results: Mapping[str, float | Sequence[float]] | None = None,
    published: Mapping[str, float] | None = None,
    task: str = "action-recognition",
    dataset_name: str = "recordings",
    dataset_split: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    license: str = "apache-2.0",
    tags: tuple[str, ...] = (),
    base_model: str | None = None,
    repo_id: str | None = None,
    limitations: str = DEFAULT_LIMITATIONS,
    intended_use: str | None = None,
    measured: Mapping[str, Any] | None = None,
    num_labels: int | None = None,
) -> Path:
    """Write `README.md` into the folder of a saved model.

    Args:
        folder: Folder made by `save_pretrained`.
        model_name: Title of the card and name in its metadata.
        model_summary: One or two sentences: what the model is and does.
        layout: Joint layout of its inputs.
        preprocessing: Fields of the feature extractor (`extractor.to_dict()`); its layout and internals are left out.
        training_data: What it was trained on, as the end of the sentence "Data: ...".
        citation: BibTeX of the method; the configuration of a family has it (`config.citation`).
        recipe: The recipe as YAML text or as a mapping.
        results: Name of the measure -> value, or the values of several runs, of which mean and standard deviation are given; values
            in [0, 1] are printed in percent. The mean enters the model index.
        published: Name of a measure -> value of the paper, shown beside ours.
        task: `"action-recognition"`, `"action-detection"`, `"motion-prediction"` or `"feature-extraction"` (encoders and pre-trained
            models).
        dataset_name: Data set of the results; of a corpus that the package knows, the card says the terms of its owners.
        dataset_split: Split and part of the results.
        provenance: Seed, versions, commit, checksum, ... as in `results.json`.
        license: Licence identifier of the Hub.
        tags: Tags besides the usual ones.
        base_model: What the weights started from; enters the metadata only when it is a Hub id.
        repo_id: Hub id that the example shall load; default the folder itself.
        limitations: What the reader must know before using the model.
        intended_use: What the model is for; default a sentence for the task.
        measured: What else is known of the model, as `results.json` has it: `expected_calibration_error` with `reliability_bins`, and
            `robustness`.
        num_labels: Classes of the model, for the default of `intended_use`.

    Returns:
        Path of the card.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder of a saved model; call save_pretrained first")
    if task not in _TASKS:
        raise ValueError(f"task must be one of {', '.join(_TASKS)}, got {task!r}")
    pipeline_tag, code = _TASKS[task]
    runs = {
        name: [value] if isinstance(value, int | float) else list(value) for name, value in (results or {}).items()
    }
    means = {name: statistics.fmean(values) for name, values in runs.items()}
    eval_results = [
        eval_result(
            name,
            value,
            task=pipeline_tag or task,
            dataset=dataset_name,
            split=dataset_split,
            task_name=task.replace("-", " "),
        )
        for name, value in means.items()
    ]
    known_corpus = get_corpus(dataset_name) if dataset_name in list_corpora() else None
    data = ModelCardData(
        model_name=model_name,
        library_name="skeleton_transformers",
        pipeline_tag=pipeline_tag,
        license=license,
        tags=["skeleton", "human-motion", task, layout.name, *tags],
        base_model=base_model if base_model is not None and _is_hub_id(base_model) else None,
        eval_results=eval_results or None,
    )
    shown = _settings(preprocessing)
    for member, settings in preprocessing.get("members", {}).items():
        shown += [(f"{member}: {name}", value) for name, value in _settings(settings)]
    # That of an ensemble is another class, with the same calls.
    code = code.replace(
        "SkeletonFeatureExtractor", preprocessing.get("feature_extractor_type") or "SkeletonFeatureExtractor"
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        model_name=model_name,
        model_summary=model_summary,
        code=code.format(
            model=repo_id or folder.as_posix(), joints=layout.num_joints, channels=preprocessing.get("num_channels", 3)
        ),
        layout_name=layout.name,
        num_joints=layout.num_joints,
        joints=", ".join(layout.joints),
        preprocessing=shown,
        training_data=training_data,
        base_model=base_model,
        recipe=_as_yaml(recipe),
        results=[
            (name, _with_deviation(values), _as_percent(published[name]) if published and name in published else "")
            for name, values in runs.items()
        ],
        compared=bool(published),
        intended_use=intended_use or _USES[task].format(labels=num_labels or "the"),
        terms=f"{known_corpus.title}: {known_corpus.terms}" if known_corpus else None,
        measured=measured_section(measured or {}),
        training_cost=_training_cost(provenance or {}),
        dataset_name=dataset_name,
        dataset_split=dataset_split,
        provenance=_provenance_rows(provenance or {}),
        limitations=limitations,
        citation=citation,
    )
    path = folder / "README.md"
    path.write_text(str(card), encoding="utf-8")
    return path


def _settings(preprocessing: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings of a feature extractor that a reader wants to see."""
    hidden = ("layout", "feature_extractor_type", "members")
    return [
        (name, _in_one_line(value))
        for name, value in preprocessing.items()
        if name not in hidden and not name.startswith("_")
    ]


def _is_hub_id(name: str) -> bool:
    # A folder on somebody's disk says nothing to others, and the Hub refuses it as metadata.
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _as_percent(value: float) -> str:
    return f"{100 * value:.2f} %" if 0 <= value <= 1 else f"{value:g}"


def _with_deviation(values: list[float]) -> str:
    mean = _as_percent(statistics.fmean(values))
    if len(values) == 1:
        return mean
    percent = all(0 <= value <= 1 for value in values)
    deviation = statistics.stdev(values)
    return f"{mean} ± {f'{100 * deviation:.2f}' if percent else f'{deviation:g}'} ({len(values)} runs)"


def _training_cost(provenance: Mapping[str, Any]) -> str | None:
    """Device and hours, as far as the run has noted them."""
    seconds, device = provenance.get("wall_time_seconds"), provenance.get("device")
    if seconds is None:
        return None
    processes = provenance.get("num_processes") or 1
    return f"{seconds / 3600:.2f} hours on {processes} x {device or 'a device that was not recorded'}"


def _as_yaml(recipe: str | Mapping[str, Any] | None) -> str:
    if recipe is None:
        return "# not recorded"
    return recipe.strip() if isinstance(recipe, str) else yaml.safe_dump(dict(recipe), sort_keys=False).strip()


def _in_one_line(value: Any) -> str:
    return str(value).replace("\n", " ").replace("|", "\\|")


def _provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (name.replace("_", " "), _in_one_line(provenance[name]))
        for name in _SHOWN_PROVENANCE
        if provenance.get(name) is not None
    ]
    versions = provenance.get("versions") or {}
    if versions:
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return rows


__all__ = ["DEFAULT_LIMITATIONS", "write_model_card"]
