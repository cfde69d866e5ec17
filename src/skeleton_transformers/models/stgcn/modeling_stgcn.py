"""ST-GCN (Yan et al., "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition", AAAI 2018).

keypoints (batch, persons, frames, joints, channels), a track for every person who is there
  -> normalised                           (tracks, channels, frames, joints)
in each of ten layers
  graph convolution, convolution over time (tracks, width, frames / stride, joints)
last_hidden_state: mean over joints       (batch, persons, frames / 4, hidden_size)
  -> pooler_output: mean over steps, then over persons (batch, hidden_size)
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ...modeling_attention import LayerRecord
from ...modeling_loading import CheckedLoading
from ...modeling_outputs import SkeletonModelOutput
from ...modeling_tasks import ActionDetectionHead, ActionRecognitionHead, MotionPredictionHead, WindowedFrameFeatures
from ..graph_layers import (
    GraphBlock,
    InputNorm,
    PartitionedGraphConvolution,
    make_tracks,
    pool_tracks,
    stride_mask,
)
from .configuration_stgcn import STGCNConfig


@dataclass
class STGCNModelOutput(SkeletonModelOutput):
    """Output of [`STGCNModel`]; a step is four frames (the product of the strides).

    Args:
        last_hidden_state: `(batch, persons, steps, hidden_size)`, mean over the joints, 0 where `step_mask` is False.
        pooler_output: `(batch, hidden_size)`, mean over the steps of each person, then over the persons.
        step_mask: bool `(batch, persons, steps)`, True where the person is there in any frame of the step. With
            `ignore_absent_person=False` everything counts as there.
        hidden_states: with `output_hidden_states=True`, the normalised input and the output of every layer,
            `(tracks, channels, frames, joints)`, the persons who are there one after the other.
        attentions: with `output_attentions=True`, empty, for there is no attention.
    """


class STGCNLayer(GradientCheckpointingLayer, GraphBlock):
    """One layer."""


def make_layers(config: STGCNConfig) -> nn.ModuleList:
    """The layers; the first one has neither a residual connection nor dropout."""
    layers = nn.ModuleList()
    input_size = config.num_channels
    for number, (size, stride) in enumerate(zip(config.hidden_sizes, config.strides, strict=True)):
        graph = PartitionedGraphConvolution(
            input_size, size, config.num_subsets, config.num_joints, config.edge_importance
        )
        dropout = config.hidden_dropout_prob if number else 0.0
        layers.append(
            STGCNLayer(graph, input_size, size, config.temporal_kernel_size, stride, dropout, residual=number > 0)
        )
        input_size = size
    return layers


class STGCNPreTrainedModel(CheckedLoading, PreTrainedModel):
    """Initialisation, loading and saving of all ST-GCN models."""

    config: STGCNConfig
    base_model_prefix = "stgcn"
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["STGCNLayer"]
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the released code: convolutions N(0, 0.02), batch norms around 1; the graph is that of the layout."""
        if isinstance(module, nn.Conv2d) or module is getattr(self, "classifier", None):
            init.normal_(module.weight, std=0.02)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            super()._init_weights(module)
            init.normal_(module.weight, mean=1.0, std=0.02)
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            bound = module.in_features**-0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, PartitionedGraphConvolution):
            if module.edge_importance is not None:
                init.ones_(module.edge_importance)
        elif isinstance(module, STGCNModel):
            init.copy_(module.graph, torch.from_numpy(self.config.make_graph()))


class STGCNModel(WindowedFrameFeatures, STGCNPreTrainedModel):
    """The encoder: sequences of any length, any number of persons, to one vector per step, person and sample.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import STGCNConfig, STGCNModel

    >>> model = STGCNModel(STGCNConfig.from_preset("tiny")).eval()
    >>> model(torch.randn(2, 1, 60, 25, 3)).pooler_output.shape
    torch.Size([2, 32])
    ```
    """

    graph: torch.Tensor

    def __init__(self, config: STGCNConfig):
        super().__init__(config)
        self.register_buffer("graph", torch.from_numpy(config.make_graph()))
        self.input_norm = InputNorm(config.num_joints * config.num_channels)
        self.layers = make_layers(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> STGCNModelOutput:
        """Encodes a batch.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`; what it holds where `frame_mask` is False does
                not matter.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there; None means wherever any
                coordinate is not 0.
            output_hidden_states: also return the states of all layers.
            output_attentions: accepted for the sake of uniformity; there is no attention.

        Raises:
            ValueError: shapes do not fit the model, or nobody is present in a sample.
        """
        record = LayerRecord.make(self.config, output_hidden_states, output_attentions)
        tracks = make_tracks(self.config, keypoints, frame_mask)
        mask = tracks.mask
        states = self.input_norm(tracks.keypoints.to(self.dtype), mask)
        record.add(states)
        for layer, stride in zip(self.layers, self.config.strides, strict=True):
            next_mask = stride_mask(mask, stride)
            states = layer(states, mask, next_mask, self.graph)
            mask = next_mask
            record.add(states)
        steps, step_mask, pooled = pool_tracks(states, mask, tracks.chosen)
        return STGCNModelOutput(
            last_hidden_state=steps,
            pooler_output=pooled,
            step_mask=step_mask,
            **record.as_fields(),
        )


class STGCNForActionRecognition(ActionRecognitionHead, STGCNPreTrainedModel):
    """The encoder with a linear classifier on its pooled feature.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import STGCNConfig, STGCNForActionRecognition

    >>> model = STGCNForActionRecognition(STGCNConfig.from_preset("tiny", num_labels=60)).eval()
    >>> model(torch.randn(2, 2, 60, 25, 3)).logits.shape
    torch.Size([2, 60])
    ```
    """

    encoder_class = STGCNModel


class STGCNForActionDetection(ActionDetectionHead, STGCNPreTrainedModel):
    """The encoder with a linear classifier on every frame, which the encoder sees in windows of `frame_window` frames."""

    encoder_class = STGCNModel


class STGCNForMotionPrediction(MotionPredictionHead, STGCNPreTrainedModel):
    """The encoder with a GRU that goes on from the last observed pose."""

    encoder_class = STGCNModel


__all__ = [
    "STGCNForActionDetection",
    "STGCNForActionRecognition",
    "STGCNForMotionPrediction",
    "STGCNModel",
    "STGCNModelOutput",
    "STGCNPreTrainedModel",
]
