"""2s-AGCN (Shi et al., "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition", CVPR 2019).

    keypoints (batch, persons, frames, joints, channels), a track for every person who is there
      -> normalised                           (tracks, channels, frames, joints)
    in each of ten layers
      adaptive graph convolution: the graph is the skeleton's, plus one that is learnt, plus one of how alike the joints are
      convolution over time                   (tracks, width, frames / stride, joints)
    last_hidden_state: mean over joints       (batch, persons, frames / 4, hidden_size)
      -> pooler_output: mean over steps, then over persons (batch, hidden_size)

One model is one stream; the scores of a model of joints and of one of bones are added (`examples/fuse_streams.py`).
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ...modeling_attention import LayerRecord
from ...modeling_inputs import pack, unpack
from ...modeling_loading import CheckedLoading
from ...modeling_outputs import SkeletonModelOutput
from ...modeling_tasks import ActionDetectionHead, ActionRecognitionHead, MotionPredictionHead, WindowedFrameFeatures
from ..graph_layers import (
    FrameBatchNorm,
    InputNorm,
    TemporalConvolution,
    make_residual,
    make_tracks,
    pool_tracks,
    stride_mask,
)
from .configuration_agcn import AGCNConfig


# The skeleton's graph has three subsets: itself, inward, outward.
NUM_SUBSETS = 3


@dataclass
class AGCNModelOutput(SkeletonModelOutput):
    """Output of [`AGCNModel`]; a step is four frames (the product of the strides).

    Args:
        last_hidden_state: `(batch, persons, steps, hidden_size)`, mean over the joints, 0 where `step_mask` is False.
        pooler_output: `(batch, hidden_size)`, mean over the steps of each person, then over the persons.
        step_mask: bool `(batch, persons, steps)`, True where the person is there in any frame of the step. With
            `ignore_absent_person=False` everything counts as there.
        hidden_states: with `output_hidden_states=True`, the normalised input and the output of every layer,
            `(tracks, channels, frames, joints)`, the persons who are there one after the other.
        attentions: with `output_attentions=True`, the graph of every layer that depends on the sequence (C_k in the paper),
            `(tracks, 3, joints, joints)`: row w has the weights of the joints that joint w receives from.
    """


class AGCNGraphConvolution(nn.Module):
    """Adaptive graph convolution (paper, Eq. 3): fixed graph + learnt graph + likeness of the joints in this sequence."""

    def __init__(self, config: AGCNConfig, input_size: int, output_size: int):
        super().__init__()
        embedding_size = output_size // config.embedding_factor
        self.learnt_graph = nn.Parameter(torch.zeros(NUM_SUBSETS, config.num_joints, config.num_joints))
        self.source, self.target, self.output = (
            nn.ModuleList([nn.Conv2d(input_size, size, 1) for _ in range(NUM_SUBSETS)])
            for size in (embedding_size, embedding_size, output_size)
        )
        self.norm = FrameBatchNorm(output_size)
        self.residual = TemporalConvolution(input_size, output_size, 1, 1) if input_size != output_size else None

    def forward(
        self, states: torch.Tensor, mask: torch.Tensor | None, graph: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`(tracks, input_size, frames, joints)` -> `(tracks, output_size, frames, joints)`, and the likeness `(tracks, 3, joints,
        joints)`, whose columns have the sum 1."""
        graphs = graph + self.learnt_graph
        shown = None if mask is None else mask[:, None, :, None].to(states.dtype)
        frames = states.shape[2] if mask is None else mask.sum(dim=1).clamp(min=1)[:, None, None]
        result: torch.Tensor | None = None
        likenesses = []
        for k in range(NUM_SUBSETS):
            source, target = self.source[k](states), self.target[k](states)
            if shown is not None:
                source = source * shown  # a frame in which the person is absent compares nothing
            # (tracks, embedding, frames, joints) -> (tracks, joints, joints)
            scores = source.flatten(1, 2).transpose(1, 2) @ target.flatten(1, 2)
            likeness = torch.softmax(scores / (source.shape[1] * frames), dim=1)
            likenesses.append(likeness)
            gathered = states.flatten(1, 2) @ (likeness + graphs[k])  # (tracks, channels * frames, joints)
            received = self.output[k](gathered.view_as(states))
            result = received if result is None else result + received
        assert result is not None
        residual = states if self.residual is None else self.residual(states, mask)
        return torch.relu(self.norm(result, mask) + residual), torch.stack(likenesses, dim=1)


class AGCNLayer(GradientCheckpointingLayer):
    """Adaptive graph convolution, convolution over time, residual connection."""

    def __init__(self, config: AGCNConfig, number: int):
        super().__init__()
        input_size = config.hidden_sizes[number - 1] if number else config.num_channels
        output_size, stride = config.hidden_sizes[number], config.strides[number]
        self.graph = AGCNGraphConvolution(config, input_size, output_size)
        self.temporal = TemporalConvolution(output_size, output_size, config.temporal_kernel_size, stride)
        self.dropout = nn.Dropout(config.hidden_dropout_prob if number else 0.0)
        self.has_residual = number > 0
        self.residual = make_residual(input_size, output_size, stride) if number else None

    def forward(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None,
        next_mask: torch.Tensor | None,
        graph: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`(tracks, input_size, frames, joints)` -> `(tracks, output_size, steps, joints)`, and the likeness of the joints."""
        hidden, likeness = self.graph(states, mask, graph)
        hidden = self.dropout(self.temporal(hidden, next_mask))
        if self.has_residual:
            hidden = hidden + (states if self.residual is None else self.residual(states, next_mask))
        return torch.relu(hidden), likeness


class AGCNPreTrainedModel(CheckedLoading, PreTrainedModel):
    """Initialisation, loading and saving of all 2s-AGCN models."""

    config: AGCNConfig
    base_model_prefix = "agcn"
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["AGCNLayer"]
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the released code: graph convolutions start near nothing, so that a layer first is its residual connection."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out")
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            super()._init_weights(module)
        elif isinstance(module, AGCNGraphConvolution):  # after everything in it
            init.constant_(module.learnt_graph, 1e-6)
            init.constant_(module.norm.weight, 1e-6)
            for name, weight in module.output.named_parameters():
                if name.endswith("weight"):
                    init.normal_(weight, std=(2 / (weight.shape[0] * weight.shape[1] * NUM_SUBSETS)) ** 0.5)
        elif module is getattr(self, "classifier", None):
            init.normal_(module.weight, std=(2 / module.out_features) ** 0.5)
            bound = module.in_features**-0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            bound = module.in_features**-0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, AGCNModel):
            init.copy_(module.graph, torch.from_numpy(self.config.make_graph()))


class AGCNModel(WindowedFrameFeatures, AGCNPreTrainedModel):
    """The encoder: sequences of any length, any number of persons, to one vector per step, person and sample.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import AGCNConfig, AGCNModel

    >>> model = AGCNModel(AGCNConfig.from_preset("tiny")).eval()
    >>> model(torch.randn(2, 1, 60, 25, 3)).pooler_output.shape
    torch.Size([2, 32])
    ```
    """

    graph: torch.Tensor

    def __init__(self, config: AGCNConfig):
        super().__init__(config)
        self.register_buffer("graph", torch.from_numpy(config.make_graph()))
        places = config.num_persons if config.normalize_persons_apart else 1
        self.input_norm = InputNorm(places * config.num_joints * config.num_channels)
        self.layers = nn.ModuleList([AGCNLayer(config, number) for number in range(len(config.hidden_sizes))])
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> AGCNModelOutput:
        """Encodes a batch.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`; what it holds where `frame_mask` is False does
                not matter.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there; None means wherever any
                coordinate is not 0.
            output_hidden_states: also return the states of all layers.
            output_attentions: also return the likeness of the joints in every layer.

        Raises:
            ValueError: shapes do not fit the model, nobody is present in a sample, or there are more persons than places.
        """
        record = LayerRecord.make(self.config, output_hidden_states, output_attentions)
        tracks = make_tracks(self.config, keypoints, frame_mask)
        mask = tracks.mask
        if self.config.normalize_persons_apart:
            states = self.normalize_places(tracks.keypoints.to(self.dtype), mask, tracks.chosen)
        else:
            states = self.input_norm(tracks.keypoints.to(self.dtype), mask)
        record.add(states)
        for layer, stride in zip(self.layers, self.config.strides, strict=True):
            next_mask = stride_mask(mask, stride)
            states, likeness = layer(states, mask, next_mask, self.graph)
            mask = next_mask
            record.add(states, likeness.transpose(2, 3))
        steps, step_mask, pooled = pool_tracks(states, mask, tracks.chosen)
        return AGCNModelOutput(
            last_hidden_state=steps,
            pooler_output=pooled,
            step_mask=step_mask,
            **record.as_fields(),
        )

    def normalize_places(
        self, keypoints: torch.Tensor, mask: torch.Tensor | None, chosen: torch.Tensor
    ) -> torch.Tensor:
        """Normalises each place for persons with its own statistics, those of absent persons' zeros included.

        Args:
            keypoints: `(tracks, frames, joints, channels)`.
            mask: bool `(tracks, frames)` or None.
            chosen: bool `(batch, persons)`, which persons are tracks.

        Returns:
            `(tracks, channels, frames, joints)`.
        """
        places, persons = self.config.num_persons, chosen.shape[1]
        if persons > places and bool(chosen[:, places:].any()):
            raise ValueError(
                f"there are {persons} persons, but the model normalises num_persons={places} places apart; keep fewer persons "
                "(max_persons of SkeletonFeatureExtractor)."
            )
        # A place for everybody and, with zeros, for whoever is not there: (batch, places, frames, joints, channels)
        placed = nn.functional.pad(unpack(keypoints, chosen), (0, 0, 0, 0, 0, 0, 0, places))[:, :places]
        # (batch, places, T, V, C) -> (batch, T, places, V, C) -> one skeleton of places * V joints
        states = self.input_norm(placed.transpose(1, 2).flatten(2, 3))
        states = states.unflatten(3, (places, -1)).permute(0, 3, 1, 2, 4)  # (batch, places, C, T, V)
        states = pack(nn.functional.pad(states, (0, 0, 0, 0, 0, 0, 0, persons))[:, :persons], chosen)
        return states if mask is None else states * mask[:, None, :, None]


class AGCNForActionRecognition(ActionRecognitionHead, AGCNPreTrainedModel):
    """The encoder with a linear classifier on its pooled feature.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import AGCNConfig, AGCNForActionRecognition

    >>> model = AGCNForActionRecognition(AGCNConfig.from_preset("tiny", num_labels=60)).eval()
    >>> model(torch.randn(2, 2, 60, 25, 3)).logits.shape
    torch.Size([2, 60])
    ```
    """

    encoder_class = AGCNModel


class AGCNForActionDetection(ActionDetectionHead, AGCNPreTrainedModel):
    """The encoder with a linear classifier on every frame, which the encoder sees in windows of `frame_window` frames."""

    encoder_class = AGCNModel


class AGCNForMotionPrediction(MotionPredictionHead, AGCNPreTrainedModel):
    """The encoder with a GRU that goes on from the last observed pose."""

    encoder_class = AGCNModel


__all__ = [
    "AGCNForActionDetection",
    "AGCNForActionRecognition",
    "AGCNForMotionPrediction",
    "AGCNModel",
    "AGCNModelOutput",
    "AGCNPreTrainedModel",
]
