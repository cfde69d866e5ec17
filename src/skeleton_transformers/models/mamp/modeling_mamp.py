"""MAMP (Mao et al., "Masked Motion Predictors are Strong 3D Action Representation Learners", ICCV 2023).

A segment-joint transformer (see [`skeleton_transformers.models.segment_layers`]) with joint attention: every joint of every segment
attends to all others of the same person. Pre-training masks nine tokens out of ten, those that move more often than others; the
encoder computes the rest only, and a decoder predicts how the masked joints move from frame to frame.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.utils.generic import can_return_tuple

from ...data.token_noise_collator import TokenNoiseCollator
from ...modeling_outputs import SkeletonPreTrainingOutput
from ...modeling_pretraining import PreTrainingObjective
from ...modeling_tasks import ActionDetectionHead, MotionPredictionHead
from ..segment_layers import (
    SegmentDecoder,
    SegmentEncoder,
    SegmentPreTrainedModel,
    SegmentRecognitionHead,
    SegmentTokens,
    choose_visible,
    cut_segments,
    make_tokens,
    normalise_values,
    token_mean,
)
from .configuration_mamp import MAMPConfig


@dataclass
class MAMPForPreTrainingOutput(SkeletonPreTrainingOutput):
    """Output of [`MAMPForPreTraining`].

    Args:
        loss: mean squared error of the masked tokens of all processes.
        predicted_values: `(batch, persons, segments, joints, segment_size)`, what the decoder says of every token.
        masked_tokens: bool `(batch, persons, segments, joints)`, tokens that were masked.
    """

    predicted_values: torch.Tensor | None = None
    masked_tokens: torch.Tensor | None = None


def make_target(config: MAMPConfig, tokens: SegmentTokens) -> torch.Tensor:
    """What the decoder shall predict, float32 `(batch, persons, segments, joints, segment_size)`.

    The motion of a frame is the difference of the next one and itself (paper, Sec. 3.2), and that of the last frame 0. Where a person
    or a joint is missing in one of both, it is 0, too, unless everything counts (`ignore_absent_person=False`).
    """
    frames = tokens.frames
    if config.target == "motion":
        motion = frames[:, :, 1:] - frames[:, :, :-1]
        if config.ignore_absent_person:
            found = tokens.frame_mask[..., None] & (frames != 0).any(dim=-1)  # (batch, persons, frames, joints)
            motion = motion * (found[:, :, 1:] & found[:, :, :-1])[..., None]
        frames = nn.functional.pad(motion, (0, 0, 0, 0, 0, 1))
    values = cut_segments(config, frames)
    return normalise_values(values) if config.norm_target else values


class MAMPPreTrainedModel(SegmentPreTrainedModel):
    """Initialisation, loading and saving of all MAMP models."""

    config: MAMPConfig
    base_model_prefix = "mamp"


class MAMPModel(SegmentEncoder, MAMPPreTrainedModel):
    """The encoder: sequences of any length to one vector per joint and segment, per segment, and per sample.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import MAMPConfig, MAMPModel

    >>> model = MAMPModel(MAMPConfig.from_preset("tiny")).eval()
    >>> output = model(torch.randn(2, 1, 60, 25, 3))  # (batch, persons, frames, joints, channels)
    >>> output.pooler_output.shape, output.token_hidden_state.shape
    (torch.Size([2, 32]), torch.Size([2, 1, 8, 25, 32]))
    ```
    """


class MAMPForPreTraining(PreTrainingObjective, MAMPPreTrainedModel):
    """Masked motion prediction (paper, Sec. 3). What is random about the masks comes with the batch, from [`TokenNoiseCollator`]."""

    collator_class = TokenNoiseCollator
    tasks = {}

    def __init__(self, config: MAMPConfig):
        super().__init__(config)
        self.mamp = MAMPModel(config)
        self.decoder = SegmentDecoder(config, config.segment_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None, noise: torch.Tensor
    ) -> MAMPForPreTrainingOutput:
        """Masks, encodes what is visible, and predicts the rest.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there.
            noise: float32 `(batch, persons, segments, joints)`, uniform in [0, 1); it decides what is masked.

        Raises:
            ValueError: shapes do not fit, or nobody is present in a sample.
        """
        tokens = make_tokens(self.config, keypoints, frame_mask)
        visible = choose_visible(self.config, tokens.values, tokens.mask, noise)
        states = self.mamp.encode(tokens.values, visible)
        predicted = self.decoder(states, visible, tokens.mask).float()
        masked = tokens.mask & ~visible
        errors = (predicted - make_target(self.config, tokens)).square().mean(dim=-1)
        loss = token_mean(errors, masked)
        return MAMPForPreTrainingOutput(loss=loss, predicted_values=predicted.detach(), masked_tokens=masked)


class MAMPForActionRecognition(SegmentRecognitionHead, MAMPPreTrainedModel):
    """The encoder with one of the classifiers of the released code, see [`SegmentClassifier`].

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import MAMPConfig, MAMPForActionRecognition

    >>> model = MAMPForActionRecognition(MAMPConfig.from_preset("tiny", num_labels=60)).eval()
    >>> model(torch.randn(2, 2, 60, 25, 3)).logits.shape
    torch.Size([2, 60])
    ```
    """

    encoder_class = MAMPModel


class MAMPForActionDetection(ActionDetectionHead, MAMPPreTrainedModel):
    """The encoder with a linear classifier on every frame, which the encoder sees in windows of `num_frames` frames.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import MAMPConfig, MAMPForActionDetection

    >>> model = MAMPForActionDetection(MAMPConfig.from_preset("tiny", num_labels=52)).eval()
    >>> model(torch.randn(1, 2, 100, 25, 3)).logits.shape
    torch.Size([1, 100, 52])
    ```
    """

    encoder_class = MAMPModel


class MAMPForMotionPrediction(MotionPredictionHead, MAMPPreTrainedModel):
    """The encoder with a GRU that goes on from the last observed pose.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import MAMPConfig, MAMPForMotionPrediction

    >>> model = MAMPForMotionPrediction(MAMPConfig.from_preset("tiny")).eval()
    >>> model(torch.randn(2, 1, 60, 25, 3)).predicted_keypoints.shape
    torch.Size([2, 1, 12, 25, 3])
    ```
    """

    encoder_class = MAMPModel


__all__ = [
    "MAMPForActionDetection",
    "MAMPForActionRecognition",
    "MAMPForMotionPrediction",
    "MAMPForPreTraining",
    "MAMPForPreTrainingOutput",
    "MAMPModel",
    "MAMPPreTrainedModel",
]
