"""Runs an ablation: pre-training with one thing changed at a time, and what a frozen encoder is then worth.

    python examples/ablate.py examples/configs/ablations/hico.yaml nw_ucla stores/nw_ucla --tables contrasts granularities

The file names tables, their rows, and the settings that each row changes in the recipe `<family>_<corpus>_pretrain.yaml`. Every row is
pre-trained and evaluated (nearest neighbour and linear probe) for every seed; what exists is not repeated and an interrupted run is
continued. It ends with the tables, as Markdown: mean and standard deviation over the seeds, in percent.
"""

import argparse
import json
from pathlib import Path

import yaml
from reproduce_table import DEFAULT_SPLITS, frozen, percent, pretrain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "ablation", type=Path, help="YAML file, see examples/configs/ablations; its name is the family"
    )
    parser.add_argument("corpus", choices=tuple(DEFAULT_SPLITS))
    parser.add_argument("store", help="folder made by `skeleton-transformers prepare`")
    parser.add_argument("--tables", nargs="+", default=None, help="default all of the file")
    parser.add_argument("--stream", default="joint")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=None, help="default runs/<family>_<corpus>_ablation")
    parser.add_argument("--pretraining", nargs="*", default=[], help="further section.field=value for all rows")
    arguments = parser.parse_args()
    tables = yaml.safe_load(arguments.ablation.read_text(encoding="utf-8"))
    chosen = arguments.tables or list(tables)
    if unknown := set(chosen) - set(tables):
        parser.error(f"{arguments.ablation} has the tables {', '.join(tables)}, not {', '.join(sorted(unknown))}")
    recipes = f"{arguments.ablation.stem}_{arguments.corpus}"
    folder = arguments.output or Path("runs") / f"{recipes}_ablation"
    split = DEFAULT_SPLITS[arguments.corpus]

    lines = []
    for table in chosen:
        lines += [f"| {recipes}, {split}: {table}, top-1 % | knn | linear | seeds |", "|---|---|---|---|"]
        for row, fields in tables[table].items():
            # Rows of different tables that change the same things are one run.
            name = "".join(f"{field.rpartition('.')[2]}_" for field in sorted(fields))
            found: dict[str, list[float]] = {"knn": [], "linear": []}
            for seed in arguments.seeds:
                overrides = [*arguments.pretraining, *fields]
                encoder = pretrain(recipes, arguments.store, folder, arguments.stream, seed, overrides, name)
                results = json.loads(frozen(split, arguments.store, encoder).read_text())["results"]
                for protocol, values in found.items():
                    values.append(results[protocol]["top1_accuracy"])
            lines.append(f"| {row} | {percent(found['knn'])} | {percent(found['linear'])} | {len(arguments.seeds)} |")
        lines.append("")
    print("\n".join(lines))
    (folder / "ablation.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
