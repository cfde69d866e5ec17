"""What encoders and tasks return. A family adds its own levels in a subclass."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class SkeletonModelOutput(ModelOutput):
    """Output of every encoder.

    Args:
        last_hidden_state: `(batch, persons, steps, dim)`, one vector per person and time step of the encoder (a clip, a
            segment, a frame); 0 where `step_mask` is False.
        pooler_output: `(batch, hidden_size)`, one vector per sample.
        step_mask: bool `(batch, persons, steps)`, True where a step belongs to the sample.
        hidden_states: with `output_hidden_states=True`, the states of all layers; shapes are those of the family.
        attentions: with `output_attentions=True`, the attention weights of all layers.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    step_mask: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class ActionRecognitionOutput(ModelOutput):
    """Output of action recognition.

    Args:
        loss: cross-entropy, mean over the batch; with `labels` only.
        logits: `(batch, num_labels)`, before softmax.
        hidden_states: those of the encoder.
        attentions: those of the encoder.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class ActionDetectionOutput(ModelOutput):
    """Output of action detection.

    Args:
        loss: cross-entropy, mean over the labelled frames of the batch; with `labels` only.
        logits: `(batch, frames, num_labels)`, before softmax; class 0 is the background.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


@dataclass
class MotionPredictionOutput(ModelOutput):
    """Output of motion prediction.

    Args:
        loss: distance of predicted and true joint, mean over joints, frames and persons, in the unit of the keypoints;
            with `future_keypoints` only.
        predicted_keypoints: float32 `(batch, persons, frames, joints, channels)`, the frames after the last observed one of
            each person; 0 for a person who was never observed.
        hidden_states: those of the encoder, which sees every person as a sample of its own.
        attentions: those of the encoder.
    """

    loss: torch.Tensor | None = None
    predicted_keypoints: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class SkeletonPreTrainingOutput(ModelOutput):
    """Output of every self-supervised objective; a family adds its component losses and pretext accuracies.

    Args:
        loss: weighted sum of the component losses, the only field with a gradient.
    """

    loss: torch.Tensor | None = None


__all__ = [
    "ActionDetectionOutput",
    "ActionRecognitionOutput",
    "MotionPredictionOutput",
    "SkeletonModelOutput",
    "SkeletonPreTrainingOutput",
]
