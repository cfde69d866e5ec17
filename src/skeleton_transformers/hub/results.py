"""Results in model cards: the model index that the Hub reads, and what was measured of calibration and robustness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index

from ..evaluation.report import headline


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

# What the Hub calls the task that a protocol measures.
_HUB_TASKS = {
    "knn": "feature-extraction",
    "linear": "feature-extraction",
    "motion prediction": "time-series-forecasting",
}


def eval_result(
    name: str, value: float, *, task: str, dataset: str, split: str | None, task_name: str | None = None
) -> EvalResult:
    """One number as the Hub wants it."""
    return EvalResult(
        task_type=task,
        task_name=task_name or task.replace("-", " "),
        dataset_type=dataset.lower().replace(" ", "-"),
        dataset_name=dataset,
        dataset_split=split,
        metric_type=name.lower().replace("-", "").replace(" ", "_"),
        metric_name=name,
        metric_value=round(float(value), 5),
    )


def eval_results(results: Mapping[str, Mapping[str, Any]]) -> list[EvalResult]:
    """The main numbers of an evaluation, protocol by protocol, as entries of a model index."""
    return [
        eval_result(
            measure,
            value,
            task="action-detection"
            if name == "detection"
            else _HUB_TASKS.get(result["protocol"], "video-classification"),
            dataset=result.get("corpus") or "recordings",
            split=f"{result['split']}, {result['eval_part']}",
            task_name=result["protocol"],
        )
        for name, result in results.items()
        for measure, value in headline(result).items()
    ]


def model_index(model_name: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The `model-index` of an evaluation as YAML, to be pasted between the lines `---` at the top of a card."""
    index = eval_results_to_model_index(model_name, eval_results(results))
    return yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True)


def measured_section(results: Mapping[str, Any]) -> str:
    """What a card says of calibration and robustness.

    Args:
        results: as in `results.json` of a run: `expected_calibration_error` with `reliability_bins`, and `robustness`, what
            `evaluate_robustness` returned; either may be missing.

    Returns:
        Markdown between two comments, by which [`add_results`] finds it again.
    """
    lines = []
    if "expected_calibration_error" in results:
        error = results["expected_calibration_error"]
        lines += ["### Calibration", "", f"Expected calibration error: {100 * error:.2f} %."]
        bins = [one for one in results.get("reliability_bins", ()) if one["count"]]
        if bins:
            lines += ["", "| confidence | predictions | mean confidence | accuracy |", "|---|---|---|---|"]
            lines += [
                f"| {100 * one['low']:.0f} to {100 * one['high']:.0f} % | {one['count']} | {100 * one['confidence']:.1f} % "
                f"| {100 * one['accuracy']:.1f} % |"
                for one in bins
            ]
        lines.append("")
    robustness = results.get("robustness")
    if robustness:
        lines += ["### Robustness", "", "Top-1 accuracy on recordings that were spoilt before the model saw them:", ""]
        lines += ["| damage | unit | amount: accuracy |", "|---|---|---|"]
        lines.append(f"| none | | {100 * robustness['top1_accuracy']:.1f} % |")
        for kind, found in robustness["corruptions"].items():
            levels = zip(found["amounts"], found["top1_accuracy"], strict=True)
            shown = ", ".join(f"{amount:g}: {100 * value:.1f} %" for amount, value in levels)
            lines.append(f"| {kind.replace('_', ' ')} | {found['unit']} | {shown} |")
    else:
        lines.append("Robustness (noise, lost joints, other views): not measured.")
    return "\n".join([BEGIN, *lines, END])


def add_results(folder: str | Path, results: Mapping[str, Mapping[str, Any]]) -> Path:
    """Puts the results of an evaluation into the card of a saved model, and those of robustness and calibration into its `results.json`.

    The model index gets an entry for every number, in the place of an older one of the same measure, data set and split.

    Args:
        folder: folder of a saved model with its card.
        results: protocol -> what its function returned.

    Returns:
        Path of the card.

    Raises:
        FileNotFoundError: there is no card.
    """
    folder = Path(folder)
    path, file = folder / "README.md", folder / "results.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: there is no card to add to; the example scripts and write_model_card make one"
        )
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    calibration = results.get("calibration", {})
    known.update(
        {key: calibration[key] for key in ("expected_calibration_error", "reliability_bins") if key in calibration}
    )
    if "robustness" in results:
        known["robustness"] = results["robustness"]
    card = ModelCard.load(path)
    section = measured_section(known)
    before, begin, rest = card.text.partition(BEGIN)
    old, end, after = rest.partition(END)
    # A card without results has no such place yet: it belongs before the limits.
    if end:
        card.text = before + section + after
    else:
        head, limits, tail = card.text.partition("## Limits")
        card.text = f"{head}## Measured behaviour\n\n{section}\n\n{limits}{tail}"
    new = eval_results(results)
    places = {(one.metric_name, one.dataset_name, one.dataset_split) for one in new}
    kept = [
        one
        for one in card.data.eval_results or []
        if (one.metric_name, one.dataset_name, one.dataset_split) not in places
    ]
    card.data.eval_results = kept + new
    card.data.model_name = card.data.get("model_name") or folder.name
    card.save(path)
    if file.is_file():
        file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return path


__all__ = ["add_results", "eval_result", "eval_results", "measured_section", "model_index"]
