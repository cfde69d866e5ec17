"""Pre-trains a skeleton encoder on recordings without labels.

    python examples/pretrain.py examples/configs/hitrs_demo_pretrain.yaml
    accelerate launch examples/pretrain.py RECIPE.yaml training.max_steps=1000 data.store=stores/mine
    accelerate launch examples/pretrain.py RECIPE.yaml --resume

The recipe says everything; `section.field=value` on the command line changes it. The output folder receives `log.jsonl`,
`recipe.yaml`, checkpoints, and at the end the model and its feature extractor, ready for `from_pretrained`. A run that
was interrupted or killed continues with `--resume`, and computes then what it would have computed without the pause.
"""

import argparse
import gc
import importlib.util
import logging
import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object, send_to_device, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from skeleton_transformers.data.datasets import (
    EpochSampler,
    SkeletonDataset,
    TokenBatchSampler,
    TrainingBatchSampler,
)
from skeleton_transformers.evaluation.provenance import provenance
from skeleton_transformers.hub.background import BackgroundPublisher
from skeleton_transformers.hub.model_card import write_model_card
from skeleton_transformers.hub.publishing import full_repository_name, publish
from skeleton_transformers.models.families import get_family
from skeleton_transformers.training.checkpoints import (
    InterruptGuard,
    RunLog,
    ignore_interrupts,
    latest_checkpoint,
    read_run_log,
    read_state,
    save_checkpoint,
)
from skeleton_transformers.training.optimization import parameter_groups, pretraining_schedule, step_schedule
from skeleton_transformers.training.pretraining import (
    PreTrainingRecipe,
    build_pretraining_collator,
    build_pretraining_datasets,
)
from skeleton_transformers.training.recipes import (
    RecipeError,
    build_feature_extractor,
    build_model_config,
    load_recipe,
    save_recipe,
)
from skeleton_transformers.training.recomputation import recompute_long_batches


def measure(output, metrics: list[str]) -> torch.Tensor:
    return torch.stack([getattr(output, name).detach().float() for name in metrics])


@torch.no_grad()
def validate(accelerator: Accelerator, model, loader, metrics: list[str]) -> dict[str, float]:
    model.eval()
    outputs = (model(**send_to_device(batch, accelerator.device)) for batch in loader)
    means = torch.stack([measure(output, metrics) for output in outputs]).mean(dim=0)
    model.train()
    return dict(zip(metrics, accelerator.reduce(means, "mean").tolist(), strict=True))


def save_model(accelerator: Accelerator, model, extractor, folder: Path) -> None:
    published, weights = accelerator.unwrap_model(model).published(accelerator.get_state_dict(model))
    published.save_pretrained(folder, is_main_process=accelerator.is_main_process, state_dict=weights)
    if accelerator.is_main_process:
        extractor.save_pretrained(folder)


def build_optimizer(model, recipe: PreTrainingRecipe) -> torch.optim.Optimizer:
    training = recipe.training
    groups = parameter_groups(model, training.weight_decay, training.decay_all)
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.sgd_momentum)
    return torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, training.adam_beta2), fused=True)


def build_schedule(optimizer, recipe: PreTrainingRecipe, max_steps: int, steps_per_epoch: int):
    training, warmup_steps = recipe.training, recipe.training.warmup_steps
    if training.warmup_epochs is not None:
        warmup_steps = training.warmup_epochs * steps_per_epoch
    if training.schedule == "steps":
        decay_steps = [epoch * steps_per_epoch for epoch in training.decay_epochs]
        return step_schedule(optimizer, warmup_steps, decay_steps)
    rates = {"learning_rate": training.learning_rate, "final_learning_rate": training.final_learning_rate}
    return pretraining_schedule(
        optimizer, warmup_steps=warmup_steps, total_steps=max_steps, shape=training.schedule, **rates
    )


def write_card(recipe: PreTrainingRecipe, folder: Path, model, extractor, stores, num_sequences: int) -> None:
    last = [record for record in read_run_log(folder / "log.jsonl") if record["part"] == "validation"][-1]
    corpora = ", ".join(store.corpus or store.path.name for store in stores)
    one_person = model.collator_class.single_person
    published, _ = model.published({})
    write_model_card(
        folder,
        model_name=folder.name,
        model_summary=f"{type(model).__name__} ({extractor.stream} stream), pre-trained for {last['step']:,} steps "
        "on sequences of 3D skeletons without labels.",
        task="feature-extraction",
        layout=stores[0].layout,
        preprocessing=extractor.to_dict(),
        training_data=f"{corpora}, {num_sequences:,} sequences{' of one person' if one_person else ''} (split "
        f"{recipe.data.protocol}, part {recipe.data.train_part}), without labels",
        recipe=asdict(recipe),
        results={name.replace("_", " "): last[name] for name in last if name.endswith("_accuracy")},
        dataset_name=stores[0].corpus or "recordings",
        dataset_split=f"{recipe.data.protocol}, {recipe.data.eval_part}",
        provenance={**provenance(recipe.seed), "data_checksum": stores[0].checksum},
        citation="\n\n".join(dict.fromkeys([model.config.citation, published.config.citation])),
        base_model=recipe.model.from_pretrained,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="YAML file, see examples/configs")
    parser.add_argument("overrides", nargs="*", help="section.field=value")
    parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint, if there is one")
    parser.add_argument(
        "--push_to_hub", action="store_true", help="publish every save, and then the model, on the Hub"
    )
    parser.add_argument("--hub_model_id", help="where: owner/name; default the name of output_dir under your account")
    parser.add_argument("--hub_private_repo", action="store_true", help="make a new repository private")
    args = parser.parse_intermixed_args(arguments)
    recipe = load_recipe(args.recipe, PreTrainingRecipe, args.overrides)
    if args.push_to_hub:  # a missing token is better known before than after hours of training
        repository = full_repository_name(args.hub_model_id or Path(recipe.output_dir).name)
    training, output_dir = recipe.training, Path(recipe.output_dir)
    checkpoint = latest_checkpoint(output_dir)
    if checkpoint is not None and not args.resume:
        raise RecipeError(f"{output_dir} holds a run already: continue it with --resume or choose another output_dir")
    if training.report_to is not None and importlib.util.find_spec(training.report_to) is None:
        package = "'skeleton_transformers[tensorboard]'" if training.report_to == "tensorboard" else training.report_to
        raise RecipeError(f"training.report_to={training.report_to} needs a package: pip install {package}")
    accelerator = Accelerator(
        mixed_precision=training.mixed_precision, log_with=training.report_to, project_dir=str(output_dir)
    )
    logging.basicConfig()
    logging.getLogger("skeleton_transformers").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    transformers.utils.logging.disable_progress_bar()  # ours is the only one
    publisher = None
    if args.push_to_hub and accelerator.is_main_process:
        publisher = BackgroundPublisher(repository, private=args.hub_private_repo)
    exit_code = train(recipe, accelerator, checkpoint, publisher)
    if publisher is not None:
        publisher.finish()
    if publisher is not None and exit_code == 0:
        print(publish(output_dir, repository, private=args.hub_private_repo))
    # Processes of a group must let go of the model before they leave it, or the interpreter may abort at exit.
    accelerator.free_memory()
    gc.collect()
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return exit_code


def train(
    recipe: PreTrainingRecipe,
    accelerator: Accelerator,
    checkpoint: Path | None,
    publisher: BackgroundPublisher | None = None,
) -> int:
    training, output_dir = recipe.training, Path(recipe.output_dir)
    set_seed(recipe.seed)

    # Recordings.
    stores = recipe.data.open_stores()
    layout, num_channels = stores[0].layout, stores[0].num_channels
    extractor, published_extractor = (
        build_feature_extractor(features, layout, recipe.model.from_pretrained, num_channels)
        for features in (recipe.features, {**recipe.features, **recipe.published_features})
    )
    config = build_model_config(recipe.model, layout, extractor.num_channels)
    train_set, validation_set = build_pretraining_datasets(recipe, stores, extractor, config)

    # Batches: a function of the seed and of the optimiser step, so a run can begin at any step.
    micro_batches, processes = training.gradient_accumulation_steps, accelerator.num_processes
    ranks = {"rank": accelerator.process_index, "world_size": processes}
    order = EpochSampler(len(train_set), recipe.seed)
    if training.tokens_per_batch is None:
        train_batches = TrainingBatchSampler(order, training.batch_size, accumulation=micro_batches, **ranks)
    else:
        train_batches = TokenBatchSampler(
            order, train_set, training.tokens_per_batch, accumulation=micro_batches, **ranks
        )
    max_steps = training.max_steps if training.epochs is None else training.epochs * train_batches.steps_per_epoch
    train_batches.num_steps = max_steps
    validation_size = min(training.batch_size, len(validation_set) // processes)
    if validation_size < 2:
        raise RecipeError(f"{len(validation_set)} sequences are too few to validate on; raise data.validation_share")
    validation_batches = TrainingBatchSampler(EpochSampler(len(validation_set), recipe.seed), validation_size, **ranks)

    # Model and optimiser.
    model_class = get_family(recipe.model.family).load("pretraining")
    if recipe.model.from_pretrained is not None:
        model = model_class.from_pretrained(recipe.model.from_pretrained, config=config, dtype=torch.float32)
    else:
        model = model_class(config)
    if training.recompute_from_frames is not None:
        recompute_long_batches(model, training.recompute_from_frames)
    model.before_training(max_steps)
    metrics = model.metrics
    if model.has_idle_parameters:
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    optimizer = build_optimizer(model, recipe)
    scheduler = build_schedule(optimizer, recipe, max_steps, train_batches.steps_per_epoch)
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.register_for_checkpointing(scheduler)  # not prepared: a prepared one steps once for every process
    set_seed(recipe.seed, device_specific=True)  # every process drops other units

    def load(dataset: SkeletonDataset, batches: TrainingBatchSampler) -> DataLoader:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=build_pretraining_collator(config, recipe.seed),
            num_workers=training.num_workers,
            worker_init_fn=ignore_interrupts,
            pin_memory=accelerator.device.type == "cuda",
            generator=torch.Generator(),  # or it would draw from the one that dropout uses
        )

    # Continue where the newest checkpoint stands.
    step, logged, totals = 0, 0, torch.zeros(len(metrics), dtype=torch.float64)
    position = {"sequences": len(train_set), "steps_per_epoch": train_batches.steps_per_epoch, "processes": processes}
    if training.tokens_per_batch is not None:
        position["tokens_per_batch"] = training.tokens_per_batch
    if checkpoint is not None:
        state = read_state(checkpoint)
        if state["position"] != position:
            raise RecipeError(f"{checkpoint} belongs to a run with {state['position']}, this one has {position}")
        accelerator.load_state(str(checkpoint))
        step, logged, totals = state["step"], state["logged"], torch.tensor(state["totals"], dtype=torch.float64)
        train_batches.first_step = step
    if accelerator.is_main_process:
        log = RunLog(output_dir / "log.jsonl", last_step=step if checkpoint is not None else None)
        save_recipe(recipe, output_dir / "recipe.yaml")
    if training.report_to is not None:
        accelerator.init_trackers("pretraining", config={"seed": recipe.seed, **asdict(training)})

    def report(part: str, values: dict[str, float]) -> None:
        if accelerator.is_main_process:
            log.write({"step": step, "part": part, **values})
        accelerator.log({f"{part}/{name}": value for name, value in values.items()}, step=step)

    def save() -> None:
        def add_model(folder: Path) -> None:
            save_model(accelerator, model, published_extractor, folder / "model")

        state = {"position": position, "logged": logged, "totals": totals.tolist()}
        folder = save_checkpoint(accelerator, output_dir, step, state, training.keep_checkpoints, add_model)
        if publisher is not None and step < max_steps:  # the last one is the finished model
            publisher.push(folder / "model", f"Step {step} of {max_steps}", [output_dir / "recipe.yaml"])

    def refuse(message: torch.Tensor, per_micro_batch: list[torch.Tensor]) -> None:
        bad = [m for m, values in enumerate(per_micro_batch) if not values[0].isfinite()]
        names = [train_set.name(key.index) for m in bad for key in train_batches.batch(step, m)]
        names = gather_object(names) if processes > 1 else names
        losses = ", ".join(f"{name} {value:.4g}" for name, value in zip(metrics, message.tolist(), strict=True))
        raise FloatingPointError(
            f"the loss of optimiser step {step} is not finite ({losses}). Look at the recordings of its batch "
            f"({', '.join(names)}), lower training.learning_rate, or set training.mixed_precision=no"
        )

    batches, validation = iter(load(train_set, train_batches)), load(validation_set, validation_batches)
    progress = tqdm(total=max_steps, initial=step, disable=not accelerator.is_local_main_process, unit="step")
    stop, clock = False, time.perf_counter()
    model.train()
    with InterruptGuard() as interrupt:
        while step < max_steps and not stop:
            # One optimiser step; processes exchange gradients with the last of its micro-batches only.
            per_micro_batch = []
            for micro_batch in range(micro_batches):
                exchange = nullcontext() if micro_batch == micro_batches - 1 else accelerator.no_sync(model)
                with exchange:
                    batch = send_to_device(next(batches), accelerator.device, non_blocking=True)
                    output = model(**batch)
                    # In batches of different sizes every sequence still counts the same; in those of one size the weight is 1.
                    weight = len(batch["keypoints"]) / train_batches.mean_batch_size
                    accelerator.backward(output.loss * weight / micro_batches)
                per_micro_batch.append(measure(output, metrics))
            # One message per step carries the metrics, and whether any process was asked to stop.
            asked = torch.tensor([float(interrupt.signal)], device=accelerator.device)
            message = accelerator.reduce(torch.cat([torch.stack(per_micro_batch).mean(dim=0), asked]), "mean")
            message = message.double().cpu()
            stop = message[-1].item() > 0
            if not message[0].isfinite():
                refuse(message[:-1], per_micro_batch)
            gradient_norm = accelerator.clip_grad_norm_(model.parameters(), training.max_grad_norm)
            learning_rate = scheduler.get_last_lr()[0]
            optimizer.step()
            if not accelerator.optimizer_step_was_skipped:
                accelerator.unwrap_model(model).after_optimizer_step()
            scheduler.step()
            optimizer.zero_grad()
            step, logged, totals = step + 1, logged + 1, totals + message[:-1]
            progress.update()
            done = step == max_steps
            if done or step % training.log_every == 0:
                sequences = logged * micro_batches * train_batches.mean_batch_size * processes
                extra = {
                    "learning_rate": learning_rate,
                    "gradient_norm": float(gradient_norm),
                    "epoch": step / train_batches.steps_per_epoch,
                    "sequences_per_second": round(sequences / (time.perf_counter() - clock), 2),
                }
                report("train", {**dict(zip(metrics, (totals / logged).tolist(), strict=True)), **extra})
                progress.set_postfix(loss=f"{totals[0] / logged:.4f}")
                logged, totals, clock = 0, torch.zeros_like(totals), time.perf_counter()
            if done or step % training.eval_every == 0:
                report("validation", validate(accelerator, model, validation, metrics))
            if done or stop or step % training.save_every == 0:
                save()
    progress.close()
    if step == max_steps:
        save_model(accelerator, model, published_extractor, output_dir)
        if accelerator.is_main_process:
            write_card(
                recipe, output_dir, accelerator.unwrap_model(model), published_extractor, stores, len(train_set)
            )
    elif accelerator.is_main_process:
        logging.warning("interrupted after step %d; continue with --resume", step)
    return 0 if step == max_steps else 128 + (interrupt.signal or signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
