"""Fine-tuning that meets a loss that is not finite."""

import pytest
import torch
from torch.utils.data import Dataset
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition
from skeleton_transformers.training.finetuning import FineTuningTrainer, TrainingSection


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


def make_trainer(folder, recordings):
    torch.manual_seed(0)
    model = HiTRSForActionRecognition(HiTRSConfig.from_preset("tiny", num_labels=2, num_layers=1))
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        num_train_epochs=1,
        save_strategy="steps",
        save_steps=1,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
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
