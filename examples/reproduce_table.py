"""Runs a whole table of results for one corpus: every seed, pre-training, all protocols, streams and their fusion.

    python examples/reproduce_table.py nw_ucla stores/nw_ucla --seeds 0 1 2
    python examples/reproduce_table.py nw_ucla stores/nw_ucla --seeds 0 --streams joint motion bone
    python examples/reproduce_table.py nw_ucla stores/nw_ucla --family hico --fractions 0.01 0.05 0.1 1
    python examples/reproduce_table.py nw_ucla stores/nw_ucla --family agcn --streams joint bone --starts scratch
    python examples/reproduce_table.py nw_ucla stores/nw_ucla --transfer msr_action3d=stores/msr_action3d --starts pretrained supervised
    python examples/reproduce_table.py precog stores/precog_takes --task detection
    python examples/reproduce_table.py cmu stores/cmu_mocap --task prediction

Each run is one of the public commands (printed before it starts; --dry_run prints them all and runs none) with the recipe
`<family>_<corpus>_<kind>.yaml` or `<family>_<corpus>_<split>_<stream>_<kind>.yaml`. A run whose results exist is not repeated and an
interrupted one is continued, so the script can be stopped and started at will. It ends with the table, as Markdown: mean and standard
deviation over the seeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from skeleton_transformers.data.corpora import get_corpus
from skeleton_transformers.evaluation.fusion import fuse_predictions


EXAMPLES = Path(__file__).parent
CONFIGS = EXAMPLES / "configs"
FRACTIONS = (0.1, 1.0)
# Corpora as the names of recipes spell them, and the split of their tables.
DEFAULT_SPLITS = {
    "nw_ucla": "xview",
    "msr_action3d": "xsub",
    "gtu": "all",
    "precog": "xsub",
    "cmu": "split",
    "ntu60": "xsub",
    "ntu120": "xsub",
    "pku1": "xsub",
    "pku2": "xsub",
    "kinetics": "split",
    "demo": "xsub",
}
CORPUS_NAMES = {"cmu": "cmu-mocap", "pku1": "pku-mmd-1", "pku2": "pku-mmd-2", "demo": "synthetic"}
# Where a corpus has no recipe of its own for something, that of the corpus it was recorded like.
ALIKE = {"ntu120": "ntu60", "pku1": "ntu60", "pku2": "ntu60"}
HORIZONS = ("80", "160", "320", "400", "mean")
DRY_RUN = False


def command(*words: str) -> None:
    print("$", " ".join(words), flush=True)
    if not DRY_RUN:
        subprocess.run(words, check=True)


def python(script: str, *words: str) -> None:
    command(sys.executable, str(EXAMPLES / script), *words)


def find_recipe(family: str, corpus: str, split: str, stream: str, *kinds: str, source: str = "") -> Path:
    """The recipe of the first of `kinds` that there is, the most special one first; the stream is set by whoever uses it.

    What pre-trains an encoder of another family, such as mcc_agcn, is fine-tuned by the recipes of that family.
    """
    names = [f"{family}_{source}_to_{corpus}_{split}_{stream}"] if source else []
    for one in filter(None, (corpus, ALIKE.get(corpus))):
        for who in filter(None, (family, family.partition("_")[2])):
            parts = dict.fromkeys((split, DEFAULT_SPLITS[one]))
            names += [f"{who}_{one}_{part}_{name}" for part in parts for name in dict.fromkeys((stream, "joint"))]
            names += [f"{who}_{one}_{name}" for name in dict.fromkeys((stream, "joint"))]  # a corpus with one split
            names.append(f"{who}_{one}")
    for kind in kinds:
        for name in names:
            if (path := CONFIGS / f"{name}_{kind}.yaml").exists():
                return path
    raise SystemExit(f"there is no recipe {names[0]}_{kinds[0]}.yaml in {CONFIGS}, nor one that could stand in for it")


def read_recipe(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def pretrain(
    family: str,
    corpus: str,
    store: str,
    folder: Path,
    stream: str,
    seed: int,
    overrides: Iterable[str] = (),
    name: str = "",
    split: str = "",
) -> Path:
    """Pre-trained encoder of one stream and seed; trained only if it is not there. `name` tells runs with other overrides apart."""
    encoder = folder / f"{name}{stream}_seed{seed}_pretrained"
    if not (encoder / "model.safetensors").exists():
        split = split or DEFAULT_SPLITS[corpus]
        recipe = str(find_recipe(family, corpus, split, stream, "pretrain"))
        fields = [f"data.store={store}", f"data.protocol={split}", f"features.stream={stream}"]
        if (first := pretrain_backbone(family, corpus, store, folder, stream, seed, split)) is not None:
            fields.append(f"model.from_pretrained={first}")
        fields += [f"output_dir={encoder}", f"seed={seed}"]
        python("pretrain.py", recipe, *fields, *overrides, "--resume")
    return encoder


def pretrain_backbone(
    family: str, corpus: str, store: str, folder: Path, stream: str, seed: int, split: str
) -> Path | None:
    """What MCC, and training from scratch beside it, start from where the backbone has a first stage of its own: AS-GCN's links."""
    if not family.startswith("mcc_"):
        return None
    recipe = read_recipe(find_recipe(family, corpus, split, stream, "pretrain"))
    if recipe["model"].get("from_pretrained") is None:
        return None
    return pretrain(family.removeprefix("mcc_"), corpus, store, folder, stream, seed, name="first_stage_", split=split)


def normalisation(recipe: Path, corpus: str) -> list[str]:
    """What recordings of another corpus must be like for the encoders of a pre-training recipe: layout, view, centre and scale."""
    values = read_recipe(recipe)
    features = {**values.get("features", {}), **values.get("published_features", {})}
    layout = values["data"].get("layout") or get_corpus(CORPUS_NAMES.get(corpus, corpus.replace("_", "-"))).layout
    defaults = {"normalize_view": False, "center": "none", "scale": "none"}
    fields = [f"features.{key}={json.dumps(features.get(key, value))}" for key, value in defaults.items()]
    return [f"data.layout={json.dumps(layout)}", *fields]


def fine_tune(
    recipe: Path,
    store: str,
    output: Path,
    stream: str,
    seed: int,
    encoder: Path | None,
    fields: Iterable[str] = (),
    mode: str = "finetune",
) -> Path:
    """Model fine-tuned from `encoder` (or its head alone, with mode `linear`), or trained from scratch where there is no encoder."""
    if not (output / "results.json").exists():
        start = ["training.mode=scratch", "model.from_pretrained=null"]
        if encoder is not None:
            start = [f"training.mode={mode}", f"model.from_pretrained={encoder}"]
        words = [f"data.store={store}", f"features.stream={stream}", f"output_dir={output}", f"seed={seed}"]
        python("finetune.py", str(recipe), *words, *start, *fields)
    return output


def supervise(
    family: str, corpus: str, store: str, folder: Path, stream: str, seed: int, fields: Iterable[str], split: str
) -> tuple[Path, Path]:
    """Recogniser trained with the labels of the corpus, whose encoder others start from, and its recipe."""
    recipe = find_recipe(family, corpus, split, stream, "scratch", "recognition")
    run = folder / f"{stream}_seed{seed}_supervised"
    return fine_tune(recipe, store, run, stream, seed, None, [f"data.protocol={split}", *fields]), recipe


def frozen(split: str, store: str, encoder: Path, name: str = "") -> Path:
    """Nearest neighbours and linear probe of a frozen encoder."""
    output = encoder / f"frozen{name}.json"
    if not output.exists():
        verb = ["evaluate", str(encoder), "--store", store, "--split", split, "--protocol", "knn,linear"]
        command(str(Path(sys.executable).parent / "skeleton-transformers"), *verb, "--output", str(output))
    return output


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def measures(task: str, results: dict[str, Any], top5: bool = False) -> dict[str, dict[str, float]]:
    """Whose -> measure -> value of a run, in percent or millimetres: its own ("") and of the baselines that it was measured beside."""
    if task == "detection":
        names = ("mAP_a", "mAP_v", "F1", "segment_F1@0.1", "segment_F1@0.25", "segment_F1@0.5", "frame_accuracy")
        return {"": {name: 100 * results[name] for name in names}}
    if task == "prediction":
        return {
            "" if who == "model" else who.replace("_", " "): {h: errors[h] for h in HORIZONS if h in errors}
            for who, errors in results["mpjpe_mm"].items()
        }
    return {"": {f"top-{k}": 100 * results[f"top{k}_accuracy"] for k in ((1, 5) if top5 else (1,))}}


Runs = dict[str, Path]  # folder by what the table says of it


class Table:
    """Values by row and measure, one for every seed."""

    def __init__(self, title: str):
        self.title = title
        self.rows: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, values: dict[str, float]) -> None:
        for measure, value in values.items():
            self.rows.setdefault(row, {}).setdefault(measure, []).append(value)

    def __str__(self) -> str:
        columns = list(dict.fromkeys(measure for row in self.rows.values() for measure in row))
        lines = [f"| {self.title} | {' | '.join(columns)} | seeds |", "|---" * (len(columns) + 2) + "|"]
        for name, row in self.rows.items():
            cells = [spread(row[column]) if column in row else "" for column in columns]
            lines.append(f"| {name} | {' | '.join(cells)} | {max(map(len, row.values()))} |")
        return "\n".join(lines)


def other_split(corpus: str, split: str) -> str:
    """What the name of a folder says of a split that is not the usual one."""
    return "" if split == DEFAULT_SPLITS[corpus] else f"_{split}"


def share(fraction: float) -> str:
    return f"{100 * fraction:g}"


@dataclass
class Start:
    """What a network starts from: `run` in the names of folders, `name` in tables, `mark` where they speak of fused streams."""

    run: str
    name: str
    encoder: Path | None = None
    mark: str = ""
    fields: list[str] = field(default_factory=list)


def make_starts(arguments: argparse.Namespace, stream: str, seed: int) -> list[Start]:
    """What the runs of a stream start from, trained where it does not exist."""
    family, corpus, split, folder = arguments.family, arguments.corpus, arguments.split, arguments.output
    starts = []
    fields: list[str] = []
    if "pretrained" in arguments.starts:
        encoder = pretrain(family, corpus, arguments.store, folder, stream, seed, arguments.pretraining, split=split)
        if arguments.transfer:
            fields = normalisation(find_recipe(family, corpus, split, stream, "pretrain"), corpus)
        name = "frozen" if arguments.task == "linear" else "pre-trained"
        starts.append(Start("finetuned", name, encoder, fields=fields))
    if "supervised" in arguments.starts:
        words = (stream, seed, arguments.finetuning, split)
        recogniser, recipe = supervise(family, corpus, arguments.store, folder, *words)
        own = normalisation(recipe, corpus)
        starts.append(Start("supervised", "pre-trained with labels", recogniser, ", with labels", own))
    if "scratch" in arguments.starts and arguments.task != "linear":
        if stream == arguments.streams[0] or arguments.starts == ["scratch"]:
            first = pretrain_backbone(family, corpus, arguments.store, folder, stream, seed, split)
            starts.append(Start("scratch", "from scratch", first, ", from scratch", fields))
    return starts


def fill_table(arguments: argparse.Namespace, table: Table, target: str, store: str, stream: str, seed: int) -> Runs:
    """Everything of one stream and seed on the corpus `target`, in the table; its recognisers, to be fused with those of other streams."""
    starts = make_starts(arguments, stream, seed)
    task, first = arguments.task, arguments.streams[0]
    split = DEFAULT_SPLITS[target] if arguments.transfer else arguments.split
    mark = f"_to_{target}" if arguments.transfer else ""
    kinds = (task, "scratch") if task == "recognition" else (task,)
    source = arguments.corpus if arguments.transfer else ""
    recipe = find_recipe(arguments.family, target, split, stream, *kinds, source=source)
    fractions = arguments.fractions or (FRACTIONS if task == "recognition" and stream == first else (1.0,))
    runs: Runs = {}
    for start in starts:
        if start.encoder and start.run == "finetuned" and task == "recognition":
            found = frozen(split, store, start.encoder, mark)
            for protocol, values in {} if DRY_RUN else read(found)["results"].items():
                table.add(f"{stream}, {protocol}", {"top-1": 100 * values["top1_accuracy"]})
        for fraction in fractions:
            kind = "" if task == "recognition" else f"_{task}"
            run = arguments.output / f"{stream}_seed{seed}{mark}{kind}_{start.run}_{share(fraction)}"
            fields = [f"data.label_fraction={fraction}", f"data.protocol={split}", *start.fields]
            mode = "linear" if task == "linear" else "finetune"
            fine_tune(recipe, store, run, stream, seed, start.encoder, [*fields, *arguments.finetuning], mode)
            if DRY_RUN:
                continue
            labels = f", {share(fraction)} % of the labels" if task == "recognition" or fraction < 1 else ""
            for who, values in measures(task, read(run / "results.json"), target == "kinetics").items():
                # A baseline knows no training, so every run of a seed has measured the same one.
                if not who or (start is starts[0] and fraction == fractions[0] and stream == first):
                    table.add(who or f"{stream}, {start.name}{labels}", values)
            if task in ("recognition", "linear"):
                runs[start.mark + ("" if fraction == 1 else labels)] = run
    return runs


def fuse_streams(table: Table, runs: dict[str, Runs]) -> None:
    """Adds the sums of two streams of the papers, and of all, to the table; `runs` by stream."""
    for streams in dict.fromkeys((("joint", "bone"), tuple(runs))):
        if len(streams) > 1 and set(streams) <= set(runs):
            for mark in runs[streams[0]]:
                if all(mark in runs[stream] for stream in streams):
                    fused = fuse_predictions([runs[stream][mark] / "predictions.npz" for stream in streams])
                    table.add(f"{' + '.join(streams)}, fused{mark}", {"top-1": 100 * fused.top1_accuracy})


def add_run_options(parser: argparse.ArgumentParser, output: str, pretraining: str) -> None:
    """The options of every script that makes runs; `output` and `pretraining` say what two of them mean there."""
    parser.add_argument("--split", default=None, help="protocol of the corpus; default that of its tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=None, help=f"default {output}")
    for name, what in (("--pretraining", pretraining), ("--finetuning", "fine-tuning")):
        parser.add_argument(
            name, nargs="*", action="extend", default=[], help=f"further section.field=value for {what}"
        )
    parser.add_argument("--dry_run", action="store_true", help="print the commands, run nothing")


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=tuple(DEFAULT_SPLITS), help="what to pre-train on")
    parser.add_argument("store", help="folder made by `skeleton-transformers prepare`")
    parser.add_argument("--family", default="hitrs", help="whose recipes; default hitrs")
    parser.add_argument(
        "--task",
        choices=("recognition", "linear", "detection", "prediction"),
        default="recognition",
        help="linear: the published recipe of a classifier on a frozen encoder",
    )
    parser.add_argument("--streams", nargs="+", default=["joint"], help="their recognisers are fused as well")
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="+",
        default=None,
        help="shares of the labels; default 0.1 and 1 of the first stream and 1 of the others (recognition), 1 (other tasks)",
    )
    parser.add_argument(
        "--starts",
        nargs="+",
        choices=("pretrained", "scratch", "supervised"),
        default=["pretrained", "scratch"],
        help="default the first two, from scratch for the first stream only; scratch alone: for every stream; supervised, with --transfer: the encoder of a recogniser trained with the labels of the corpus",
    )
    parser.add_argument(
        "--transfer",
        nargs="+",
        default=[],
        metavar="CORPUS=STORE",
        help="judge the encoders on these corpora instead of the one they were pre-trained on",
    )
    output = "runs/<corpus> (hitrs), runs/<family>_<corpus>, then _<split> if it is another"
    add_run_options(parser, output, "pre-training")
    arguments = parser.parse_args(words)
    family, corpus = arguments.family, arguments.corpus
    arguments.split = arguments.split or DEFAULT_SPLITS[corpus]
    if arguments.output is None:
        name = corpus if family == "hitrs" else f"{family}_{corpus}"
        arguments.output = Path("runs") / (name + other_split(corpus, arguments.split))
    arguments.targets = {corpus: arguments.store}
    if arguments.transfer:
        arguments.targets = dict(one.partition("=")[::2] for one in arguments.transfer)
        if unknown := [name for name in arguments.targets if name not in DEFAULT_SPLITS]:
            parser.error(f"--transfer takes CORPUS=STORE, with one of {', '.join(DEFAULT_SPLITS)}; got {unknown[0]!r}")
    elif "supervised" in arguments.starts:
        parser.error(
            "--starts supervised goes with --transfer; on the corpus itself, training with its labels is --starts scratch"
        )
    return arguments


def main(words: list[str] | None = None) -> None:
    global DRY_RUN
    arguments = parse_arguments(words)
    DRY_RUN = arguments.dry_run
    corpus, task = arguments.corpus, arguments.task
    unit = "mm" if task == "prediction" else "%"
    tables = []
    for target, store in arguments.targets.items():
        split = DEFAULT_SPLITS[target] if arguments.transfer else arguments.split
        where = f"{corpus} to {target}" if arguments.transfer else corpus
        table = Table(f"{arguments.family}, {where}, {split}, {task}, {unit}")
        for seed in arguments.seeds:
            streams = arguments.streams
            fuse_streams(table, {one: fill_table(arguments, table, target, store, one, seed) for one in streams})
        tables.append(str(table))
    if DRY_RUN:
        return
    text = "\n\n".join(tables) + "\n"
    print(text, end="")
    name = "table" + ("" if task == "recognition" else f"_{task}") + ("_transfer" if arguments.transfer else "")
    (arguments.output / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
