"""Write the cards of the models that the recipes train: `python model_cards/generate.py`.

A card here says all that is known before training: use, layout, preprocessing, data with their terms, recipe, citation, and the value
that the authors of the method have published. Results are filled in from the `results.json` of finished runs below `--runs`, all seeds of a
recipe together (`runs/<recipe>`, `runs/<recipe>_seed1`, ...), and from nowhere else: a card without them is of a model that
has not been measured.
"""

import argparse
import json
import tempfile
from pathlib import Path

import yaml

from skeleton_transformers.data.corpora import get_corpus
from skeleton_transformers.hub.model_card import write_model_card
from skeleton_transformers.models.families import get_family
from skeleton_transformers.skeletons import get_layout
from skeleton_transformers.training.recipes import build_feature_extractor


HERE = Path(__file__).resolve().parent
TASKS = {
    "pretrain": ("feature-extraction", "pretraining"),
    "recognition": ("action-recognition", "action_recognition"),
    "detection": ("action-detection", "action_detection"),
    "prediction": ("motion-prediction", "motion_prediction"),
}
NOT_PUBLISHED = ("demo", "folder")  # synthetic recordings, and those of the user
MEASURES = {
    "Top-1 accuracy": "top1_accuracy",
    "Expected calibration error": "expected_calibration_error",
    "mAP over actions": "mAP_a",
    "mAP over takes": "mAP_v",
    "Segment F1 at 0.5": "segment_F1@0.5",
}
# Top-1 accuracy of fine-tuning with all labels, one stream of joints. Hi-TRS: Chen et al., ECCV 2022, Table 1.
PUBLISHED = {
    "hitrs_ntu60_xsub_joint_recognition": 0.860,
    "hitrs_ntu60_xview_joint_recognition": 0.930,
    "hitrs_ntu120_xsub_joint_recognition": 0.806,
    "hitrs_ntu120_xset_joint_recognition": 0.816,
}


def write_card(file: Path, runs: Path, target: Path) -> bool:
    """The card of one recipe; False where it trains nothing that would be published."""
    name, recipe = file.stem, yaml.safe_load(file.read_text(encoding="utf-8"))
    kind = name.rsplit("_", 1)[1]
    store = recipe["data"]["store"]
    stores = [Path(store).name] if isinstance(store, str) else [Path(one).name for one in store]
    corpus = (
        stores[0].removesuffix("_takes").replace("pku1", "pku_mmd_1").replace("pku2", "pku_mmd_2").replace("_", "-")
    )
    family = get_family(recipe["model"]["family"])
    if kind == "scratch" and family.pretraining is None:  # a network that is always trained with labels
        kind = "recognition"
    if kind not in TASKS or set(NOT_PUBLISHED) & set(name.split("_")):
        return False
    task, role = TASKS[kind]
    trained = getattr(family, role)
    if family.encoder is None:  # an objective around an encoder of another family, which is what is published
        backbone = recipe["model"]["overrides"]["backbone"]
        trained = f"{get_family(backbone).encoder}, pre-trained with {family.pretraining}"
    layout = get_layout(recipe["data"].get("layout") or get_corpus(corpus).layout)
    features = {**recipe.get("features", {}), **recipe.get("published_features", {})}
    data = recipe["data"]
    found = [json.loads(path.read_text()) for path in sorted(runs.glob(f"{name}*/results.json"))]
    results = {title: [run[key] for run in found if key in run] for title, key in MEASURES.items()}
    with tempfile.TemporaryDirectory() as folder:
        card = write_model_card(
            folder,
            model_name=name,
            model_summary=f"{trained}, the {features.get('stream', 'joint')} stream of {', '.join(stores)}."
            + ("" if found else " Not trained or measured yet: this card says how it will be."),
            task=task,
            layout=layout,
            preprocessing=build_feature_extractor(features, layout).to_dict(),
            training_data=f"{', '.join(stores)}, split {data.get('protocol')}, part {data.get('train_part', 'train')}"
            + (", without labels" if kind == "pretrain" else ""),
            citation=family.load("configuration").citation,
            recipe=file.read_text(encoding="utf-8"),
            results={title: values for title, values in results.items() if values},
            published={"Top-1 accuracy": PUBLISHED[name]} if name in PUBLISHED else None,
            dataset_name=corpus,
            dataset_split=f"{data.get('protocol')}, {data.get('eval_part', 'test')}",
            provenance=found[0] if found else None,
            measured=found[0] if found else None,
            repo_id=f"owner/{name.replace('_', '-')}",
        )
        (target / f"{name}.md").write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Entry point; `arguments` default to the command line. Returns the number of cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=Path, default=HERE.parent / "examples" / "configs", help="folder of recipes")
    parser.add_argument(
        "--runs", type=Path, default=HERE.parent / "runs", help="folder with the output_dir of every run"
    )
    parser.add_argument("--output", type=Path, default=HERE, help="folder for the cards")
    parser.add_argument("--only", nargs="*", default=("*",), help="names of recipes, with * for anything")
    args = parser.parse_args(arguments)
    files = sorted({file for pattern in args.only for file in args.configs.glob(f"{pattern}.yaml")})
    written = sum(write_card(file, args.runs, args.output) for file in files)
    print(f"{written} cards in {args.output}")
    return written


if __name__ == "__main__":
    main()
