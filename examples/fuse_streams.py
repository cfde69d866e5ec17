"""Fuse what the models of several streams say about the same recordings, and make one model of them.

    python examples/fuse_streams.py runs/joint runs/motion runs/bone
    python examples/fuse_streams.py joint.npz bone.npz --mode softmax --weights 0.6 0.4
    python examples/fuse_streams.py runs/joint runs/bone --validation joint_val.npz bone_val.npz --output_dir runs/2s

What is fused are folders of `finetune.py`, or files of predictions: the `predictions.npz` of such a folder, or what
`skeleton-transformers evaluate --protocol accuracy --predictions FILE` wrote. Weights are given, equal, or searched on predictions of the
same models for the validation part (`--eval-part validation`), which they must not have been trained on (`data.train_part=train-validation`).

With `--output_dir` the models that the predictions lie beside become one, with feature extractor, card and `results.json`: it loads,
predicts, is evaluated and published (`skeleton-transformers publish`) like any other.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from skeleton_transformers import SkeletonEnsembleFeatureExtractor, SkeletonEnsembleForActionRecognition
from skeleton_transformers.evaluation.fusion import FusedPredictions, fuse_predictions
from skeleton_transformers.evaluation.provenance import provenance
from skeleton_transformers.hub.model_card import write_model_card


# What the results of the members say about the data; the ensemble says it where all of them agree.
SHARED_FACTS = ("corpus", "data_checksum", "split", "train_part", "eval_part", "label_fraction", "label_sampling")


def results_beside(file: Path) -> dict[str, Any]:
    results = file.with_name("results.json")
    return json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}


def name_streams(files: list[Path], results: list[dict[str, Any]]) -> dict[str, Path]:
    """Folders by stream, or by their own name where several have the same stream."""
    streams = [found.get("stream", "") for found in results]
    if len(set(streams)) < len(files) or not all(streams):
        streams = [file.parent.name.replace(".", "_") for file in files]
    if len(set(streams)) < len(files):
        raise SystemExit(f"the models need different streams or different names of folders, got {', '.join(streams)}")
    return {stream: file.parent for stream, file in zip(streams, files, strict=True)}


def save_ensemble(
    output: Path, files: list[Path], fused: FusedPredictions, mode: str, weights_from: str
) -> SkeletonEnsembleForActionRecognition:
    """One model of the models that the predictions lie beside."""
    found = [results_beside(file) for file in files]
    folders = name_streams(files, found)
    model = SkeletonEnsembleForActionRecognition.from_members(folders, fused.weights, mode)
    extractor = SkeletonEnsembleFeatureExtractor.from_members(folders)
    extractor.check_model(model.config)
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    extractor.save_pretrained(output)
    facts = {name: found[0].get(name) for name in SHARED_FACTS}
    facts = {name: fact for name, fact in facts.items() if all(other.get(name) == fact for other in found)}
    weights = dict(zip(folders, fused.weights, strict=True))
    results = {
        "protocol": "fusion",
        "top1_accuracy": fused.top1_accuracy,
        "top5_accuracy": fused.top5_accuracy,
        "member_top1_accuracy": dict(zip(folders, fused.single, strict=True)),
        "fusion": mode,
        "weights": weights,
        "weights_from": weights_from,
        "num_eval_samples": len(fused.labels),
        **facts,
        "versions": provenance(0)["versions"],
    }
    recipe = {"members": {name: folder.name for name, folder in folders.items()}, "fusion": mode, "weights": weights}
    (output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (output / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    members = ", ".join(f"{name} ({type(model.members[name]).__name__})" for name in folders)
    write_model_card(
        output,
        model_name=output.name,
        model_summary=f"An ensemble of {len(folders)} recognisers that were trained separately: {members}. It averages their "
        f"{'probabilities' if mode == 'softmax' else 'scores'}, with weights that are {weights_from}: "
        f"{', '.join(f'{name} {weight:g}' for name, weight in weights.items())}.",
        layout=extractor.skeleton_layout,
        preprocessing=extractor.to_dict(),
        training_data=f"{facts.get('corpus') or 'recordings'}, split {facts.get('split')}, part {facts.get('train_part')}",
        citation=model.config.citation,
        recipe=recipe,
        results={
            "top-1 accuracy": fused.top1_accuracy,
            "top-5 accuracy": fused.top5_accuracy,
            **{f"top-1 accuracy of {name} alone": one for name, one in results["member_top1_accuracy"].items()},
        },
        dataset_name=facts.get("corpus") or "recordings",
        dataset_split=", ".join(str(facts[name]) for name in ("split", "eval_part") if facts.get(name)) or None,
        provenance=results,
    )
    return model


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="folders of finetune.py, or files of predictions (.npz)")
    parser.add_argument("--weights", nargs="+", type=float, default=None, help="one per file; default equal")
    parser.add_argument("--validation", nargs="+", type=Path, help="search the weights on these, one per file")
    parser.add_argument("--mode", choices=("logits", "softmax"), default="logits", help="what is averaged")
    parser.add_argument("--output_dir", type=Path, help="save the models as one here")
    options = parser.parse_args(arguments)
    files = [path / "predictions.npz" if path.is_dir() else path for path in options.files]
    if options.validation:
        for file in files:
            if (part := results_beside(file).get("train_part")) == "train":
                raise SystemExit(
                    f"{file.parent} was trained on the part {part!r}, which holds the validation part: weights searched there would favour "
                    "what was learned by heart; train with data.train_part=train-validation"
                )
    fused = fuse_predictions(files, options.weights, options.mode, options.validation)
    for file, accuracy, weight in zip(options.files, fused.single, fused.weights, strict=True):
        print(f"{100 * accuracy:6.2f} %  {file} (weight {weight:g})")
    print(f"{100 * fused.top1_accuracy:6.2f} %  fused ({len(fused.labels)} recordings)")
    if options.output_dir is not None:
        weights_from = (
            "searched on the validation part" if options.validation else "given" if options.weights else "equal"
        )
        save_ensemble(options.output_dir, files, fused, options.mode, weights_from)
        print(f"saved {options.output_dir}")
    return fused.top1_accuracy


if __name__ == "__main__":
    main()
