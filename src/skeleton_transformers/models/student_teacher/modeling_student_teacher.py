"""Student-teacher: a report of EPFL on self-supervised learning of skeletons, built upon MAMP, I-JEPA and data2vec.

A segment-joint transformer (see [`skeleton_transformers.models.segment_layers`]) whose attention is spatial or temporal. Pre-training
masks tokens in every attention row. The student encodes the visible ones; behind it, mask tokens take the places of the others, and
two small transformers go on from there:

    keypoints -> student on the visible tokens -> predictor -> features of the masked tokens
                                               -> decoder   -> coordinates of all tokens
              -> teacher on all tokens, a copy of the student that follows it slowly -> the features to predict
"""

import logging
from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils.generic import can_return_tuple

from ...data.token_noise_collator import TokenNoiseCollator
from ...modeling_outputs import SkeletonPreTrainingOutput
from ...modeling_pretraining import PreTrainingObjective
from ...modeling_tasks import ActionDetectionHead, MotionPredictionHead
from ...objectives.momentum import MomentumEncoder, MomentumSchedule
from ..segment_layers import (
    SegmentDecoder,
    SegmentEncoder,
    SegmentModelOutput,
    SegmentPreTrainedModel,
    SegmentRecognitionHead,
    choose_visible,
    make_tokens,
    normalise_values,
    token_mean,
)
from .configuration_student_teacher import StudentTeacherConfig


logger = logging.getLogger(__name__)


@dataclass
class StudentTeacherForPreTrainingOutput(SkeletonPreTrainingOutput):
    """Output of [`StudentTeacherForPreTraining`]. Only `loss` has a gradient; what a task with weight 0 would give is None.

    Args:
        loss: weighted sum of the two losses.
        feature_loss: error of the predicted features of masked tokens.
        feature_deviation: standard deviation of the target features over the persons of the batch, mean over channels and places of
            tokens. Features that tell nothing about a person have 0.
        teacher_agreement: cosine of predicted and target features, mean over masked tokens.
        reconstruction_loss: squared error of the coordinates of all tokens.
        masked_tokens: bool `(batch, persons, segments, joints)`, tokens that were masked.
    """

    feature_loss: torch.Tensor | None = None
    feature_deviation: torch.Tensor | None = None
    teacher_agreement: torch.Tensor | None = None
    reconstruction_loss: torch.Tensor | None = None
    masked_tokens: torch.Tensor | None = None


def feature_deviation(features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Deviation of features over persons, token by token; NaN where no token is there for two persons.

    A deviation over all tokens would not show a collapse to features that depend on joint and segment alone.

    Args:
        features: `(batch, persons, segments, joints, dim)`, 0 where `mask` is False.
        mask: bool `(batch, persons, segments, joints)`.

    Returns:
        a scalar.
    """
    rows, rows_mask = features.flatten(0, 1), mask.flatten(0, 1)  # (B, M, ...) -> (B * M, ...)
    count = rows_mask.sum(dim=0)[..., None]  # (segments, joints, 1)
    mean = rows.sum(dim=0) / count.clamp(min=1)
    variance = ((rows - mean).square() * rows_mask[..., None]).sum(dim=0) / count.clamp(min=1)
    several = (count > 1).squeeze(-1)
    return (variance.sqrt().mean(dim=-1) * several).sum() / several.sum()


class StudentTeacherPreTrainedModel(SegmentPreTrainedModel):
    """Initialisation, loading and saving of all student-teacher models."""

    config: StudentTeacherConfig
    base_model_prefix = "student_teacher"


class StudentTeacherModel(SegmentEncoder, StudentTeacherPreTrainedModel):
    """The encoder: sequences of any length to one vector per joint and segment, per segment, and per sample.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import StudentTeacherConfig, StudentTeacherModel

    >>> model = StudentTeacherModel(StudentTeacherConfig.from_preset("tiny")).eval()
    >>> output = model(torch.randn(2, 1, 60, 25, 3))  # (batch, persons, frames, joints, channels)
    >>> output.pooler_output.shape, output.token_hidden_state.shape
    (torch.Size([2, 32]), torch.Size([2, 1, 8, 25, 32]))
    ```
    """


class StudentTeacherForPreTraining(PreTrainingObjective, StudentTeacherPreTrainedModel):
    """Prediction of the teacher's features. What is random about the masks comes with the batch, from [`TokenNoiseCollator`].

    The teacher belongs to the state of a training run, which `accelerate` saves. It is not written by `save_pretrained`: a model that
    is loaded starts with a copy of the student. Its momentum grows over the length of the run, which [`before_training`] tells;
    without that it stays at `config.momentum`.
    """

    collator_class = TokenNoiseCollator
    tasks = {
        "feature_loss_weight": ("feature_loss", "feature_deviation", "teacher_agreement"),
        "reconstruction_loss_weight": ("reconstruction_loss",),
    }
    _keys_to_ignore_on_load_missing = [r"^teacher\."]

    def __init__(self, config: StudentTeacherConfig):
        super().__init__(config)
        self.student_teacher = StudentTeacherModel(config)
        self.predictor = SegmentDecoder(config, config.hidden_size)
        self.decoder = SegmentDecoder(config, config.segment_size)
        self.teacher = MomentumEncoder(self.student_teacher, config.momentum)
        self.has_warned = False
        self._keys_to_ignore_on_save = {name for name in self.state_dict() if name.startswith("teacher.")}
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.teacher:  # what it copies is registered, and so initialised or loaded, before it
            self.teacher.restart(self.student_teacher)

    def train(self, mode: bool = True) -> "StudentTeacherForPreTraining":
        """As for every module, but the teacher stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    @property
    def has_idle_parameters(self) -> bool:
        """See [`PreTrainingObjective`]."""
        return super().has_idle_parameters or not self.config.mask_tokens

    @can_return_tuple
    def forward(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None, noise: torch.Tensor
    ) -> StudentTeacherForPreTrainingOutput:
        """Masks, encodes, and computes the losses of a batch.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there.
            noise: float32 `(batch, persons, segments, joints)`, uniform in [0, 1); it decides what is masked.

        Raises:
            ValueError: shapes do not fit, nobody is present in a sample, or both losses have weight 0.
        """
        config = self.config
        tokens = make_tokens(config, keypoints, frame_mask)
        visible = choose_visible(config, tokens.values, tokens.mask, noise)
        masked = tokens.mask & ~visible
        if config.mask_tokens:
            states = self.student_teacher.encode(tokens.values, visible)
        else:
            states = self.student_teacher.encode(tokens.values.masked_fill(masked[..., None], 0), tokens.mask)
            visible = tokens.mask  # all of them hold something
        losses: list[torch.Tensor] = []  # times their weights
        parts: dict[str, torch.Tensor] = {}

        if config.feature_loss_weight:
            predicted = self.predictor(states, visible, tokens.mask).float()
            target = self.make_target(keypoints, frame_mask, tokens.mask)
            measure = {"mse": nn.functional.mse_loss, "smooth_l1": nn.functional.smooth_l1_loss}[config.feature_loss]
            errors = measure(predicted, target, reduction="none")
            errors = errors.mean(dim=-1) if config.feature_reduction == "mean" else errors.sum(dim=-1)
            loss = token_mean(errors, masked)
            losses.append(config.feature_loss_weight * loss)
            agreement = nn.functional.cosine_similarity(predicted.detach(), target, dim=-1)
            parts |= {
                "feature_loss": loss.detach(),
                "feature_deviation": feature_deviation(target, tokens.mask),
                "teacher_agreement": token_mean(agreement, masked),
            }
            self.watch(parts["feature_deviation"])
        if config.reconstruction_loss_weight:
            predicted = self.decoder(states, visible, tokens.mask).float()
            values = normalise_values(tokens.values) if config.norm_target else tokens.values
            loss = token_mean((predicted - values).square().mean(dim=-1), tokens.mask)
            losses.append(config.reconstruction_loss_weight * loss)
            parts["reconstruction_loss"] = loss.detach()
        if not losses:
            raise ValueError(
                "feature_loss_weight and reconstruction_loss_weight are both 0; give at least one of them a positive weight."
            )
        return StudentTeacherForPreTrainingOutput(loss=torch.stack(losses).sum(), masked_tokens=masked, **parts)

    def make_target(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None, mask: torch.Tensor
    ) -> torch.Tensor:
        """What the teacher makes of everything: float32 `(batch, persons, segments, joints, hidden_size)`, 0 where `mask` is False.

        Every token is normalised by its own mean and deviation.
        """
        count, size = self.config.target_layers, (self.config.hidden_size,)
        outputs: SegmentModelOutput = self.teacher(
            keypoints, frame_mask, output_hidden_states=count > 1, return_dict=True
        )
        target = outputs.token_hidden_state
        if count > 1:
            assert outputs.hidden_states is not None
            layers = [nn.functional.layer_norm(states.float(), size) for states in outputs.hidden_states[-count:]]
            target = torch.stack(layers).mean(dim=0)
        assert target is not None
        return nn.functional.layer_norm(target.float(), size) * mask[..., None]

    def watch(self, deviation: torch.Tensor) -> None:
        """Warns, once, of features that are the same whoever does whatever."""
        if self.training and not self.has_warned and bool(deviation < self.config.collapse_deviation):
            self.has_warned = True
            logger.warning(
                f"the teacher's features hardly differ from person to person (deviation {float(deviation):.4f}, less than "
                f"collapse_deviation={self.config.collapse_deviation}): student and teacher have collapsed. Lower the learning rate, or raise "
                "momentum or reconstruction_loss_weight"
            )

    def before_training(self, num_steps: int) -> None:
        """See [`PreTrainingObjective`]."""
        self.teacher.momentum = MomentumSchedule(self.config.momentum, self.config.final_momentum, num_steps)

    def after_optimizer_step(self) -> None:
        """See [`PreTrainingObjective`]."""
        self.teacher.follow(self.student_teacher)


class StudentTeacherForActionRecognition(SegmentRecognitionHead, StudentTeacherPreTrainedModel):
    """The student with one of the classifiers of MAMP, see [`SegmentClassifier`].

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import StudentTeacherConfig, StudentTeacherForActionRecognition

    >>> model = StudentTeacherForActionRecognition(StudentTeacherConfig.from_preset("tiny", num_labels=60)).eval()
    >>> model(torch.randn(2, 2, 60, 25, 3)).logits.shape
    torch.Size([2, 60])
    ```
    """

    encoder_class = StudentTeacherModel


class StudentTeacherForActionDetection(ActionDetectionHead, StudentTeacherPreTrainedModel):
    """The student with a linear classifier on every frame, which the encoder sees in windows of `num_frames` frames.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import StudentTeacherConfig, StudentTeacherForActionDetection

    >>> model = StudentTeacherForActionDetection(StudentTeacherConfig.from_preset("tiny", num_labels=52)).eval()
    >>> model(torch.randn(1, 2, 100, 25, 3)).logits.shape
    torch.Size([1, 100, 52])
    ```
    """

    encoder_class = StudentTeacherModel


class StudentTeacherForMotionPrediction(MotionPredictionHead, StudentTeacherPreTrainedModel):
    """The student with a GRU that goes on from the last observed pose.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import StudentTeacherConfig, StudentTeacherForMotionPrediction

    >>> model = StudentTeacherForMotionPrediction(StudentTeacherConfig.from_preset("tiny")).eval()
    >>> model(torch.randn(2, 1, 60, 25, 3)).predicted_keypoints.shape
    torch.Size([2, 1, 12, 25, 3])
    ```
    """

    encoder_class = StudentTeacherModel


__all__ = [
    "StudentTeacherForActionDetection",
    "StudentTeacherForActionRecognition",
    "StudentTeacherForMotionPrediction",
    "StudentTeacherForPreTraining",
    "StudentTeacherForPreTrainingOutput",
    "StudentTeacherModel",
    "StudentTeacherPreTrainedModel",
]
