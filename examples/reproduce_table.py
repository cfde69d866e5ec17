"""Runs a whole table of results for one corpus: every seed, pre-training, all protocols, streams and their fusion.

    python examples/reproduce_table.py nw_ucla stores/nw_ucla --seeds 0 1 2
    python examples/reproduce_table.py nw_ucla stores/nw_ucla --seeds 0 --streams joint motion bone
    python examples/reproduce_table.py nw_ucla stores/nw_ucla --family hico

Each run is one of the public commands (printed before it starts) with the recipes `<family>_<corpus>_pretrain.yaml` and
`<family>_<corpus>_recognition.yaml`. A run whose results exist is not repeated and an interrupted one is continued, so the script can be
stopped and started at will. It ends with the table, as Markdown: mean and standard deviation over the seeds, in percent.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from skeleton_transformers.evaluation.fusion import fuse_predictions


EXAMPLES = Path(__file__).parent
FRACTIONS = (0.1, 1.0)
DEFAULT_SPLITS = {"nw_ucla": "xview", "msr_action3d": "xsub"}


def command(*words: str) -> None:
    print("$", " ".join(words), flush=True)
    subprocess.run(words, check=True)


def python(script: str, *words: str) -> None:
    command(sys.executable, str(EXAMPLES / script), *words)


def pretrain(
    recipes: str, store: str, folder: Path, stream: str, seed: int, overrides: list[str], name: str = ""
) -> Path:
    """Pre-trained encoder of one stream and seed; trained only if it is not there.

    `recipes` is the beginning of their names, `<family>_<corpus>`; `name` tells runs with different overrides apart.
    """
    encoder = folder / f"{name}{stream}_seed{seed}_pretrained"
    if not (encoder / "model.safetensors").exists():
        recipe = str(EXAMPLES / "configs" / f"{recipes}_pretrain.yaml")
        fields = [f"data.store={store}", f"features.stream={stream}", f"output_dir={encoder}", f"seed={seed}"]
        python("pretrain.py", recipe, *fields, *overrides, "--resume")
    return encoder


def recognise(
    recipes: str, store: str, folder: Path, stream: str, seed: int, encoder: Path | None, fraction: float
) -> Path:
    """Recogniser fine-tuned from `encoder`, or trained from scratch, with a share of the labels."""
    start = "scratch" if encoder is None else "finetuned"
    output = folder / f"{stream}_seed{seed}_{start}_{round(100 * fraction)}"
    if not (output / "results.json").exists():
        recipe = str(EXAMPLES / "configs" / f"{recipes}_recognition.yaml")
        fields = [f"data.store={store}", f"features.stream={stream}", f"output_dir={output}", f"seed={seed}"]
        fields += [f"data.label_fraction={fraction}"]
        fields += (
            ["training.mode=scratch", "model.from_pretrained=null"]
            if encoder is None
            else [f"model.from_pretrained={encoder}"]
        )
        python("finetune.py", recipe, *fields)
    return output


def frozen(corpus_protocol: str, store: str, encoder: Path) -> Path:
    """Nearest neighbours and linear probe of a frozen encoder."""
    output = encoder / "frozen.json"
    if not output.exists():
        verb = ["evaluate", str(encoder), "--store", store, "--split", corpus_protocol, "--protocol", "knn,linear"]
        command(str(Path(sys.executable).parent / "skeleton-transformers"), *verb, "--output", str(output))
    return output


def percent(values: list[float]) -> str:
    deviation = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=tuple(DEFAULT_SPLITS))
    parser.add_argument("store", help="folder made by `skeleton-transformers prepare`")
    parser.add_argument("--family", default="hitrs", help="whose recipes; default hitrs")
    parser.add_argument(
        "--split", default=None, help="protocol of the corpus; default xview (nw_ucla), xsub (msr_action3d)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--streams", nargs="+", default=["joint"], help="all but the first run at 100 %% of the labels only"
    )
    parser.add_argument(
        "--output", type=Path, default=None, help="default runs/<corpus> (hitrs), runs/<family>_<corpus>"
    )
    parser.add_argument("--pretraining", nargs="*", default=[], help="further section.field=value for pre-training")
    arguments = parser.parse_args()
    corpus, store = arguments.corpus, arguments.store
    recipes = f"{arguments.family}_{corpus}"
    folder = arguments.output or Path("runs") / (corpus if arguments.family == "hitrs" else recipes)
    split = arguments.split or DEFAULT_SPLITS[corpus]

    rows: dict[str, list[float]] = {}

    def record(row: str, value: float) -> None:
        rows.setdefault(row, []).append(value)

    for seed in arguments.seeds:
        predictions = []
        for stream in arguments.streams:
            encoder = pretrain(recipes, store, folder, stream, seed, arguments.pretraining)
            for protocol, found in json.loads(frozen(split, store, encoder).read_text())["results"].items():
                record(f"{stream}, {protocol}", found["top1_accuracy"])
            for start in (encoder, None) if stream == arguments.streams[0] else (encoder,):
                for fraction in FRACTIONS if stream == arguments.streams[0] else (1.0,):
                    run = recognise(recipes, store, folder, stream, seed, start, fraction)
                    name = "from scratch" if start is None else "pre-trained"
                    accuracy = json.loads((run / "results.json").read_text())["top1_accuracy"]
                    record(f"{stream}, {name}, {round(100 * fraction)} % of the labels", accuracy)
                    if start is not None and fraction == 1.0:
                        predictions.append(run / "predictions.npz")
        if len(predictions) > 1:
            fused = fuse_predictions(predictions)
            record(f"{' + '.join(arguments.streams)}, fused", fused.top1_accuracy)

    table = [f"| {arguments.family}, {corpus}, {split}, top-1 % | mean ± deviation | seeds |", "|---|---|---|"]
    table += [f"| {row} | {percent(values)} | {len(values)} |" for row, values in rows.items()]
    print("\n".join(table))
    (folder / "table.md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
