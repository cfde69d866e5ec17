"""The numbers of an evaluation for people: which ones matter, and a table of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def headline(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of the result of one protocol that a table or a card shows, by name.

    Shares lie in [0, 1]; the names of other numbers say their unit.
    """
    protocol = result["protocol"]
    if protocol == "knn":
        named = {f"{k}-NN accuracy": value for k, value in result["knn_accuracy"].items()}
        precision = result["mean_average_precision"]
        return named if precision is None else {**named, "Retrieval mAP": precision}
    if protocol == "linear":
        return {
            "Linear probe accuracy": result["top1_accuracy"],
            "Linear probe top-5 accuracy": result["top5_accuracy"],
        }
    if protocol == "accuracy":
        return {
            "Top-1 accuracy": result["top1_accuracy"],
            "Top-5 accuracy": result["top5_accuracy"],
            "Mean class accuracy": result["mean_class_accuracy"],
        }
    if protocol == "calibration":
        return {
            "Expected calibration error": result["expected_calibration_error"],
            "Brier score": result["brier_score"],
        }
    if protocol == "robustness":
        return {
            "Clean accuracy": result["top1_accuracy"],
            "Accuracy on spoilt recordings": result["mean_corrupted_accuracy"],
        }
    if protocol == "detection":
        names = ("mAP_a", "mAP_v", "F1", "segment_F1@0.5")
        return {name if "@" in name else f"{name}@0.5": result[name] for name in names}
    if protocol == "motion prediction":
        return {
            f"MPJPE in mm, {who.replace('_', ' ')}, {'mean' if at == 'mean' else f'{at} ms'}": value
            for who, errors in result["mpjpe_mm"].items()
            for at, value in errors.items()
        }
    if protocol == "fine-tuning":
        return {f"Fine-tuned with {100 * result['label_fraction']:g} % of the labels": result["top1_accuracy"]}
    raise ValueError(f"there is no protocol {protocol!r}")


def as_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The numbers of several protocols as a table in Markdown; shares in percent."""
    rows = ["| protocol | measure | value |", "|---|---|---|"]
    for name, result in results.items():
        rows += [f"| {name} | {measure} | {_shown(measure, value)} |" for measure, value in headline(result).items()]
    for kind, found in results.get("robustness", {}).get("corruptions", {}).items():
        accuracies = ", ".join(
            f"{amount:g}: {100 * value:.1f} %"
            for amount, value in zip(found["amounts"], found["top1_accuracy"], strict=True)
        )
        rows.append(f"| robustness | {kind.replace('_', ' ')}, {found['unit']} | {accuracies} |")
    return "\n".join(rows)


def _shown(measure: str, value: float) -> str:
    return (
        f"{value:.1f}"
        if " in mm" in measure
        else f"{value:.3f}"
        if measure == "Brier score"
        else f"{100 * value:.2f} %"
    )


__all__ = ["as_table", "headline"]
