"""Runs an ablation: pre-training with one thing changed at a time, and what the encoder is then worth.

    python examples/ablate.py examples/configs/ablations/hico.yaml nw_ucla stores/nw_ucla --tables contrasts granularities
    python examples/ablate.py examples/configs/ablations/hitrs.yaml nw_ucla stores/nw_ucla --task recognition prediction

The file names tables, their rows, and the settings that each row changes in the recipe of pre-training (see reproduce_table.py). Every row
is pre-trained for every seed, and judged frozen (nearest neighbour and linear probe), or fine-tuned for each --task, beside training from
scratch; what exists is not repeated and an interrupted run is continued. It ends with the tables, as Markdown: mean and
standard deviation over the seeds. Times (s/epoch, of pre-training on one process) compare rows of one machine.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import reproduce_table
import yaml
from reproduce_table import (
    DEFAULT_SPLITS,
    Table,
    add_run_options,
    find_recipe,
    fine_tune,
    frozen,
    measures,
    other_split,
    pretrain,
    pretrain_backbone,
    read,
)

from skeleton_transformers.training.checkpoints import read_run_log


def cost(encoder: Path) -> dict[str, float]:
    """Seconds that a pass over the recordings took in pre-training, if its log is there."""
    if not (encoder / "log.jsonl").exists():
        return {}
    log = [record for record in read_run_log(encoder / "log.jsonl") if record["part"] == "train"]
    training = yaml.safe_load((encoder / "recipe.yaml").read_text(encoding="utf-8"))["training"]
    sequences = training["batch_size"] * training["gradient_accumulation_steps"] * log[-1]["step"] / log[-1]["epoch"]
    return {"s/epoch": sequences / statistics.median(record["sequences_per_second"] for record in log)}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", type=Path, help="YAML file, see examples/configs/ablations")
    parser.add_argument("corpus", choices=tuple(DEFAULT_SPLITS))
    parser.add_argument("store", help="folder made by `skeleton-transformers prepare`")
    parser.add_argument("--family", default=None, help="whose recipes; default the name of the file")
    parser.add_argument("--tables", nargs="+", default=None, help="default all of the file")
    parser.add_argument(
        "--task",
        nargs="+",
        choices=("recognition", "linear", "detection", "prediction"),
        default=(),
        help="default frozen",
    )
    parser.add_argument(
        "--task_store", default=None, help="store to fine-tune on, such as untrimmed takes; default the same"
    )
    parser.add_argument("--stream", default="joint")
    add_run_options(parser, "runs/<family>_<corpus>[_<split>]_ablation", "all rows")
    arguments = parser.parse_args(words)
    reproduce_table.DRY_RUN = arguments.dry_run
    tables = yaml.safe_load(arguments.ablation.read_text(encoding="utf-8"))
    chosen = arguments.tables or list(tables)
    if unknown := set(chosen) - set(tables):
        parser.error(f"{arguments.ablation} has the tables {', '.join(tables)}, not {', '.join(sorted(unknown))}")
    family, corpus, stream = arguments.family or arguments.ablation.stem, arguments.corpus, arguments.stream
    split = arguments.split or DEFAULT_SPLITS[corpus]
    folder = arguments.output or Path("runs") / f"{family}_{corpus}{other_split(corpus, split)}_ablation"

    def judge(
        encoder: Path | None, name: str, seed: int, family: str = family, changed: Sequence[str] = ()
    ) -> dict[str, float]:
        """The numbers of one encoder, or of none but the settings that are `changed`, by name."""
        if not arguments.task:
            if encoder is None:
                return {}
            file = frozen(split, arguments.store, encoder)
            return {} if arguments.dry_run else {k: 100 * v["top1_accuracy"] for k, v in read(file)["results"].items()}
        found = {}
        for task in arguments.task:
            if encoder is None and task == "linear":
                continue
            kinds = (task, "scratch") if task == "recognition" else (task,)
            recipe = find_recipe(family, corpus, split, stream, *kinds)
            run = folder / f"{name}{stream}_seed{seed}_{task}"
            fields = [f"data.protocol={split}", *changed, *arguments.finetuning]
            mode = "linear" if task == "linear" else "finetune"
            start = encoder or pretrain_backbone(family, corpus, arguments.store, folder, stream, seed, split)
            fine_tune(recipe, arguments.task_store or arguments.store, run, stream, seed, start, fields, mode)
            if not arguments.dry_run:
                own = measures(task, read(run / "results.json"), top5=task == "recognition")[""]
                found.update(
                    {measure if task == "detection" else f"{task} {measure}": v for measure, v in own.items()}
                )
        return found

    written = []
    for title in chosen:
        table = Table(f"{family}, {corpus}, {split}: {title}")
        for seed in arguments.seeds:
            table.add("no pre-training", judge(None, "scratch_", seed))
        for row, fields in tables[title].items():
            # Rows of different tables that change the same things are one run.
            name = "".join(f"{field.rpartition('.')[2]}_" for field in sorted(fields))
            # A row may take the recipes of another family, or leave pre-training out.
            row_family = next(
                (field.partition("=")[2] for field in fields if field.startswith("model.family=")), family
            )
            changed = [field for field in fields if not field.startswith(("model.family=", "training.mode="))]
            for seed in arguments.seeds:
                if "training.mode=scratch" in fields:
                    table.add(row, judge(None, name, seed, row_family, changed))
                    continue
                overrides = [*arguments.pretraining, *changed]
                encoder = pretrain(row_family, corpus, arguments.store, folder, stream, seed, overrides, name, split)
                table.add(row, {**judge(encoder, name, seed, row_family), **cost(encoder)})
        written.append(str(table))
    if arguments.dry_run:
        return
    text = "\n\n".join(written) + "\n"
    print(text)
    (folder / "ablation.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
