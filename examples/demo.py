"""The whole road in a few minutes on two cores: what `make demo` runs.

1. make recordings of 3D skeletons (no download), 2. pre-train a tiny Hi-TRS on them without labels, 3. fine-tune it with 5 % and with
all labels, and train the same network from scratch for comparison, 4. evaluate the frozen encoder, 5. save, reload, predict, draw.

Every step is one of the public commands, printed before it runs; copy them to do the same with other recordings. Everything ends up
in demo_output/ (the argument names another folder), which is made afresh every time.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from skeleton_transformers import AutoModelForActionRecognition, SkeletonFeatureExtractor, SkeletonStore
from skeleton_transformers.data.motion_synthesis import synthesize_sequence
from skeleton_transformers.evaluation.protocols import evaluate_knn, protocol_features
from skeleton_transformers.visualization.rendering import render_gif


EXAMPLES = Path(__file__).resolve().parent
COMMAND = str(Path(sys.executable).parent / "skeleton-transformers")
NUM_SEQUENCES = 2400
NEW_RECORDING = 100_029  # an index far beyond the corpus: a recording that nobody has trained on


def step(title: str, *words: str) -> None:
    """Run one command, after saying what it does and how to type it."""
    shown = [
        "python" if word == sys.executable else word.removeprefix(str(Path(COMMAND).parent) + "/") for word in words
    ]
    print(f"\n== {title}\n$ {' '.join(shown)}", flush=True)
    started = time.perf_counter()
    subprocess.run(words, check=True)
    print(f"   ({time.perf_counter() - started:.0f} s)", flush=True)


def script(title: str, name: str, recipe: str, *fields: str) -> None:
    step(title, sys.executable, str(EXAMPLES / name), str(EXAMPLES / "configs" / recipe), *fields)


def accuracy_of(folder: Path) -> float:
    return json.loads((folder / "results.json").read_text())["top1_accuracy"]


def neighbour_baseline(extractor: SkeletonFeatureExtractor, store: SkeletonStore) -> float:
    """What the coordinates themselves give away: the label of the nearest training recording, all of the labels being known."""
    return evaluate_knn(protocol_features(None, extractor, store, "xsub"), metric="euclidean")["top1_accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, default=Path("demo_output"))
    output = parser.parse_args().output
    started = time.perf_counter()
    if output.exists():
        if not (output / ".made_by_the_demo").exists():
            sys.exit(f"{output} exists and was not made by this script; name another folder")
        shutil.rmtree(output)
    output.mkdir(parents=True)
    (output / ".made_by_the_demo").touch()
    store, encoder = output / "recordings", output / "encoder"

    step(
        "Make recordings: actions of 20 people before 3 cameras",
        *(COMMAND, "prepare", "synthetic", str(store), "--sequences", str(NUM_SEQUENCES)),
    )
    data = f"data.store={store}"
    script(
        "Pre-train Hi-TRS without labels",
        "pretrain.py",
        "hitrs_demo_pretrain.yaml",
        data,
        f"output_dir={encoder}",
    )
    table = []
    for percent in (5, 100):
        row = [f"{percent} % of the labels"]
        for start in ("scratch", "pretrained"):
            folder = output / f"recognition_{start}_{percent}"
            fields = [data, f"data.label_fraction={percent / 100}", f"output_dir={folder}"]
            if start == "scratch":
                fields += ["training.mode=scratch", "model.from_pretrained=null", "model.overrides={num_layers: 1}"]
                title = f"Train from scratch with {percent} % of the labels"
            else:
                fields += [f"model.from_pretrained={encoder}"]
                title = f"Fine-tune the pre-trained encoder with {percent} % of the labels"
            script(title, "finetune.py", "hitrs_demo_recognition.yaml", *fields)
            row.append(f"{100 * accuracy_of(folder):.1f} %")
        table.append(row)

    frozen = output / "frozen_encoder.json"
    step(
        "Judge the frozen encoder by nearest neighbours and a linear classifier",
        *(COMMAND, "evaluate", str(encoder), "--store", str(store), "--split", "xsub", "--protocol", "knn,linear"),
        *("--output", str(frozen)),
    )
    results = json.loads(frozen.read_text())["results"]
    recordings = SkeletonStore.open(store)
    normalized = SkeletonFeatureExtractor.from_pretrained(encoder)
    for name, value in (
        ("frozen encoder, nearest neighbour", results["knn"]["top1_accuracy"]),
        ("frozen encoder, linear classifier", results["linear"]["top1_accuracy"]),
        ("coordinates as recorded, nearest neighbour", neighbour_baseline(SkeletonFeatureExtractor(), recordings)),
        ("coordinates of normalised views, nearest n.", neighbour_baseline(normalized, recordings)),
    ):
        table.append([name, "", f"{100 * value:.1f} %"])

    # The saved model, as anybody would use it.
    model_folder = output / "recognition_pretrained_100"
    model = AutoModelForActionRecognition.from_pretrained(model_folder)
    extractor = SkeletonFeatureExtractor.from_pretrained(model_folder)
    recording = synthesize_sequence(NEW_RECORDING)
    truth = recordings.label_names[recording.label]
    file = output / "new_recording.npy"
    np.save(file, recording.keypoints)
    step("Predict a recording that nobody has seen", COMMAND, "predict", str(model_folder), str(file), "--top-k", "3")
    with torch.no_grad():
        logits = model(**extractor([file], return_tensors="pt")).logits[0]
    label = model.config.id2label[int(logits.argmax())]
    picture = output / "prediction.gif"
    render_gif(
        recording.keypoints,
        extractor.skeleton_layout,
        picture,
        frame_mask=recording.frame_mask,
        title=f"predicted: {label} ({float(logits.softmax(-1).max()):.0%}), true: {truth}",
    )

    print(f"\n{'top-1 on people never seen in training':<44}{'from scratch':>14}{'pre-trained':>14}")
    for name, scratch, pretrained in table:
        print(f"{name:<44}{scratch:>14}{pretrained:>14}")
    print(
        f"\nmodel, card and results   {model_folder}/\n"
        f"pre-trained encoder       {encoder}/\n"
        f"recordings                {store}/\n"
        f"moving skeleton           {picture}   (predicted: {label}, true: {truth})\n"
        f"done in {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
