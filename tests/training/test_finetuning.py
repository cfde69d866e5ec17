"""Fine-tuning that meets a loss that is not finite, gradients of batches of different sizes, and a head that learns first."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, STGCNConfig, STGCNForActionRecognition
from skeleton_transformers.data.datasets import SkeletonCollator
from skeleton_transformers.training.finetuning import FineTuningRecipe, FineTuningTrainer, TrainingSection
from skeleton_transformers.training.recipes import DataSection, ModelSection, RecipeError


class Recordings(Dataset):
    """Eight sequences; the one with number `broken` holds a value that is no number."""

    def __init__(self, broken=None):
        self.keypoints = torch.randn(8, 1, 9, 25, 3, generator=torch.Generator().manual_seed(0))
        self.broken = broken

    def __len__(self):
        return len(self.keypoints)

    def __getitem__(self, key):
        index = getattr(key, "index", key)
        keypoints = self.keypoints[index].clone()
        if index == self.broken:
            keypoints[0, 4, 7, 1] = torch.nan
        return {"keypoints": keypoints, "labels": torch.tensor(index % 2)}


def make_arguments(folder, **options):
    """Arguments of the training loop on the CPU, which reports nothing."""
    return TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        **options,
    )


def make_trainer(folder, recordings):
    torch.manual_seed(0)
    model = HiTRSForActionRecognition(HiTRSConfig.from_preset("tiny", num_labels=2, num_layers=1))
    arguments = make_arguments(
        folder, per_device_train_batch_size=2, num_train_epochs=1, save_strategy="steps", save_steps=1
    )
    return FineTuningTrainer(
        model=model, args=arguments, train_dataset=recordings, training=TrainingSection(epochs=1), seed=0
    )


def test_a_loss_that_is_not_finite_stops_the_run_which_resumes_from_good_weights(tmp_path):
    order = [key.index for key in make_trainer(tmp_path, Recordings())._get_train_sampler()]
    with pytest.raises(FloatingPointError, match=r"loss of optimiser step 2 is not finite \(nan\).*--resume"):
        make_trainer(tmp_path, Recordings(broken=order[4])).train()
    checkpoint = get_last_checkpoint(str(tmp_path))
    assert checkpoint.endswith("checkpoint-2")
    trainer = make_trainer(tmp_path, Recordings())
    trainer.train(resume_from_checkpoint=checkpoint)
    assert trainer.state.global_step == 4
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


class Lengths(Dataset):
    """Sequences of different lengths, as arrays."""

    def __init__(self, lengths):
        rng = np.random.default_rng(0)
        self.frame_counts = np.array(lengths)
        self.keypoints = [rng.normal(size=(1, n, 25, 3)).astype(np.float32) for n in lengths]

    def __len__(self):
        return len(self.keypoints)

    def name(self, index):
        return str(index)

    def __getitem__(self, key):
        keypoints = self.keypoints[key.index]
        return {"keypoints": keypoints, "frame_mask": np.ones(keypoints.shape[:2], bool), "labels": key.index % 3}


def make_length_trainer(folder, training, dropout=0.0, **arguments):
    """A trainer on twelve sequences of different lengths, with two batches a step."""
    torch.manual_seed(0)
    config = HiTRSConfig.from_preset("tiny", num_labels=3, num_layers=1, hidden_dropout_prob=dropout)
    options = {
        "per_device_train_batch_size": training.batch_size,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "save_strategy": "no",
    }
    return FineTuningTrainer(
        model=HiTRSForActionRecognition(config),
        args=make_arguments(folder, **{**options, **arguments}),
        train_dataset=Lengths([9, 9, 10, 12, 13, 15, 17, 18, 21, 25, 30, 45]),
        data_collator=SkeletonCollator(),
        training=training,
        seed=0,
    )


def mean_gradient(folder, smoothing, **size):
    """Mean of the gradients of the steps of an epoch, computed by the training loop at a rate of 0."""
    training = TrainingSection(epochs=1, learning_rate=0.0, **size)
    trainer = make_length_trainer(folder, training, max_grad_norm=0.0, label_smoothing_factor=smoothing)
    sums = {}

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, *args, model, **kwargs):
            for name, parameter in model.named_parameters():
                sums[name] = sums.get(name, 0) + parameter.grad.double()

    trainer.add_callback(Watch())
    trainer.train()
    assert trainer.state.global_step == trainer.steps_per_epoch
    return {name: total / trainer.state.global_step for name, total in sums.items()}, trainer


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_batches_by_length_have_the_gradient_of_batches_of_one_size(tmp_path, smoothing):
    """In the mean over the steps of an epoch, though the batches hold two to five sequences."""
    expected, _ = mean_gradient(tmp_path, smoothing, batch_size=2)
    actual, trainer = mean_gradient(tmp_path, smoothing, tokens_per_batch=90)
    assert sorted(len(batch) for batch in trainer.token_batches) == [2, 2, 3, 5]
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-4)


def test_batches_by_length_resume_bitwise_within_an_epoch(tmp_path):
    training = TrainingSection(epochs=2, tokens_per_batch=50)
    options = {"save_strategy": "steps", "save_steps": 1}
    whole = make_length_trainer(tmp_path, training, dropout=0.1, **options)
    assert whole.steps_per_epoch == 3
    whole.train()
    weights = {name: value.clone() for name, value in whole.model.state_dict().items()}
    resumed = make_length_trainer(tmp_path, training, dropout=0.1, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert resumed.state.global_step == 6
    assert all(torch.equal(weights[name], value) for name, value in resumed.model.state_dict().items())


def test_batches_by_length_are_for_recognition():
    with pytest.raises(RecipeError, match="tokens_per_batch=500 is for task: recognition; the windows of prediction"):
        FineTuningRecipe(
            model=ModelSection(),
            data=DataSection(store="s"),
            output_dir="o",
            task="prediction",
            training=TrainingSection(tokens_per_batch=500),
        )
    with pytest.raises(ValueError, match="tokens_per_batch must be at least 1, got 0"):
        TrainingSection(tokens_per_batch=0)


def make_head_first_trainer(folder, **section):
    torch.manual_seed(0)
    config = STGCNConfig.from_preset(
        "tiny", num_labels=2, hidden_sizes=[4, 4], strides=[1, 2], hidden_dropout_prob=0.2
    )
    training = TrainingSection(epochs=2, learning_rate=1e-3, weight_decay=0.1, schedule="cosine", **section)
    arguments = make_arguments(
        folder,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        num_train_epochs=4,
        learning_rate=training.learning_rate,
        save_strategy="steps",
        save_steps=1,
    )
    trainer = FineTuningTrainer(
        model=STGCNForActionRecognition(config), args=arguments, train_dataset=Recordings(), training=training, seed=0
    )
    states, rates = [], []

    class Watch(TrainerCallback):
        def on_step_begin(self, *args, model, optimizer, **kwargs):
            states.append({name: value.clone() for name, value in model.state_dict().items()})
            rates.append({group["lr"] for group in optimizer.param_groups})

    trainer.add_callback(Watch())
    return trainer, states, rates


def test_the_head_learns_first(tmp_path):
    """Three of eight steps: neither weights nor batch norms of the encoder move in them, and their weights do not decay."""
    trainer, states, rates = make_head_first_trainer(tmp_path, head_steps=3, head_learning_rate=5e-3)
    trainer.train()
    assert len(states) == 8
    encoder = [name for name in states[0] if name.startswith("stgcn.")]
    head = [name for name in states[0] if not name.startswith("stgcn.")]
    for name in encoder:
        assert torch.equal(states[0][name], states[3][name]), name
    assert any("running_mean" in name for name in encoder)
    for before, after in zip(states[:3], states[1:4], strict=True):
        assert all(not torch.equal(before[name], after[name]) for name in head)
    trained = dict(trainer.model.named_parameters())
    assert all(not torch.equal(states[3][name], trained[name]) for name in encoder if name in trained)
    assert rates[:3] == [{5e-3}] * 3
    falling = [rate for (rate,) in rates[3:]]  # the cosine of the five steps that are left
    assert falling == pytest.approx([1e-3 * (0.5 + 0.5 * np.cos(np.pi * step / 5)) for step in range(5)])


def test_a_head_that_learns_first_resumes_bitwise(tmp_path):
    whole, _, _ = make_head_first_trainer(tmp_path, head_steps=3)
    whole.train()
    for step in (2, 4):
        resumed, states, _ = make_head_first_trainer(tmp_path, head_steps=3)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert len(states) == 8 - step
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_only_a_pretrained_encoder_waits_for_its_head():
    assert TrainingSection(head_steps=5).head_steps == 5
    assert TrainingSection(mode="scratch", head_steps=5).head_steps == 0
    assert TrainingSection(mode="linear", head_steps=5).head_steps == 0
    with pytest.raises(
        ValueError, match="head_steps must be at least 0 and head_learning_rate more than 0, got -1 and"
    ):
        TrainingSection(head_steps=-1)
