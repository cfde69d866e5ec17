"""AS-GCN (Li et al., "Actional-Structural Graph Convolutional Networks for Skeleton-Based Action Recognition", CVPR 2019).

    keypoints (batch, persons, frames, joints, channels), a track for every person who is there
      -> 50 frames of each track, inference module: action links (tracks, types, joints, joints)
      -> normalised                           (tracks, channels, frames, joints)
    in each of nine layers
      convolution over structural and action links, convolution over time (tracks, width, frames / stride, joints)
    last_hidden_state: mean over joints       (batch, persons, frames / 4, hidden_size)
      -> pooler_output: mean over steps, then over persons (batch, hidden_size)

It is trained in two stages: [`ASGCNForPreTraining`] teaches the inference module which joints move together, then
[`ASGCNForActionRecognition`] trains the rest with that module fixed, and predicts the last frames from the others on the side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ...data.datasets import pad_items
from ...data.pretraining_collators import PreTrainingCollator
from ...modeling_attention import LayerRecord
from ...modeling_inputs import check_inputs, pack, present_first, unpack
from ...modeling_loading import CheckedLoading
from ...modeling_outputs import ActionRecognitionOutput, SkeletonModelOutput, SkeletonPreTrainingOutput
from ...modeling_pretraining import PreTrainingObjective
from ...modeling_tasks import (
    IGNORED_LABEL,
    ActionDetectionHead,
    ActionRecognitionHead,
    MotionPredictionHead,
    WindowedFrameFeatures,
    check_labels,
)
from ..graph_layers import (
    FrameBatchNorm,
    GraphBlock,
    InputNorm,
    PartitionedGraphConvolution,
    Tracks,
    make_tracks,
    pool_tracks,
    stride_mask,
)
from .configuration_asgcn import ASGCNConfig


# Kernels over time and strides of the layers that predict the future; the last one is not padded: it sums up five steps.
_FUTURE_LAYERS = ((9, 1), (9, 2), (9, 2), (9, 2), (3, 2), (5, 1))
_FUTURE_STEPS = 5


@dataclass
class ASGCNModelOutput(SkeletonModelOutput):
    """Output of [`ASGCNModel`]; a step is four frames (the product of the strides).

    Args:
        last_hidden_state: `(batch, persons, steps, hidden_size)`, mean over the joints, 0 where `step_mask` is False.
        pooler_output: `(batch, hidden_size)`, mean over the steps of each person, then over the persons.
        step_mask: bool `(batch, persons, steps)`, True where the person is there in any frame of the step. With
            `ignore_absent_person=False` everything counts as there.
        hidden_states: with `output_hidden_states=True`, the normalised input and the output of every layer,
            `(tracks, channels, frames, joints)`, the persons who are there one after the other.
        attentions: with `output_attentions=True`, empty, for there is no attention.
        action_links: `(batch, persons, types, joints, joints)`, source and target of the inferred links with their weights, 0 for a
            person who is never there.
    """

    action_links: torch.Tensor | None = None


@dataclass
class ASGCNForPreTrainingOutput(SkeletonPreTrainingOutput):
    """Output of [`ASGCNForPreTraining`]. Only `loss` has a gradient.

    Args:
        loss: weighted sum of the two.
        motion_loss: negative log-likelihood of the next poses, per person and joint.
        link_prior_loss: divergence of the links from their prior, per person and joint (as in the released code it leaves out
            a constant).
        link_share: share of the pairs of joints that have a link.
    """

    motion_loss: torch.Tensor | None = None
    link_prior_loss: torch.Tensor | None = None
    link_share: torch.Tensor | None = None


@dataclass
class ASGCNForActionRecognitionOutput(ActionRecognitionOutput):
    """Output of action recognition.

    Args:
        future_loss: in training, the mean squared error of the predicted last frames, in squared units of the keypoints.
    """

    future_loss: torch.Tensor | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Action links


def joint_pairs(num_joints: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Sender and receiver of every ordered pair of two joints, int64 `(joints * (joints - 1),)` each."""
    pairs = torch.arange(num_joints * (num_joints - 1), device=device)
    sender, receiver = pairs // (num_joints - 1), pairs % (num_joints - 1)
    return sender, receiver + (receiver >= sender)


def choose_frames(mask: torch.Tensor, count: int, margin: int, is_random: bool) -> torch.Tensor:
    """Frames of every track from which links are inferred.

    A track of up to `count + margin` frames gives its first ones, from the beginning again if there are too few; a longer one
    gives `count` frames that are spread over it, all of them moved by up to the distance of two.

    Args:
        mask: bool `(tracks, frames)`.
        count: frames to choose.
        margin: frames at the end to leave out of long tracks.
        is_random: draw how far they are moved; otherwise it is half of the most.

    Returns:
        int64 `(tracks, count)`.
    """
    length = mask.sum(dim=1, keepdim=True).clamp(min=1)
    number = torch.arange(count, device=mask.device)
    usable = (length - margin).clamp(min=count)
    most = -(-usable // count)  # the offset is smaller than that
    share = torch.rand(len(mask), 1, device=mask.device) if is_random else 0.5
    offset = ((most - 1) * 0.5).long() if not is_random else (share * most).long()
    chosen = torch.where(length > count + margin, number * usable // count + offset, number % length)
    return present_first(mask).gather(1, chosen)


class ASGCNLinkMLP(nn.Module):
    """Two layers with ELU, and batch normalisation over all rows."""

    def __init__(self, input_size: int, hidden_size: int, dropout: float):
        super().__init__()
        self.dense = nn.Linear(input_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.BatchNorm1d(hidden_size)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`(tracks, rows, input_size)` -> `(tracks, rows, hidden_size)`."""
        hidden = self.dropout(nn.functional.elu(self.dense(inputs)))
        hidden = nn.functional.elu(self.output(hidden))
        return self.norm(hidden.flatten(0, 1)).view_as(hidden)


class ASGCNLinkInference(nn.Module):
    """Inference module: which joints act together, from how they move (paper, Sec. 3.1)."""

    def __init__(self, config: ASGCNConfig):
        super().__init__()
        self.config = config
        size, dropout = config.link_hidden_size, config.link_dropout_prob
        self.node = ASGCNLinkMLP(config.link_frames * config.num_channels, size, dropout)
        self.pair = ASGCNLinkMLP(2 * size, size, dropout)
        self.second_node = ASGCNLinkMLP(size, size, dropout)
        self.second_pair = ASGCNLinkMLP(3 * size, size, dropout)
        self.output = nn.Linear(size, 1 + config.num_link_types)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Scores what joins each pair of joints.

        Args:
            frames: `(tracks, link_frames, joints, channels)`.

        Returns:
            `(tracks, pairs, 1 + num_link_types)`, before softmax, "no link" first; pairs as in [`joint_pairs`].
        """
        sender, receiver = joint_pairs(frames.shape[2], frames.device)
        # (tracks, frames, joints, channels) -> (tracks, joints, frames * channels)
        nodes = self.node(frames.transpose(1, 2).flatten(2))
        pairs = self.pair(torch.cat([nodes.index_select(1, receiver), nodes.index_select(1, sender)], dim=2))
        incoming = torch.zeros_like(nodes).index_add(1, receiver, pairs.to(nodes.dtype)) / nodes.shape[1]
        nodes = self.second_node(incoming)
        ends = torch.cat([nodes.index_select(1, receiver), nodes.index_select(1, sender)], dim=2)
        return self.output(self.second_pair(torch.cat([ends, pairs], dim=2)))

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        """One type for each pair, `(tracks, pairs, 1 + num_link_types)` of 0 and 1: drawn in training, the likeliest otherwise."""
        if self.training:
            return nn.functional.gumbel_softmax(logits, tau=self.config.link_temperature, hard=True)
        return nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)

    def matrices(self, edges: torch.Tensor) -> torch.Tensor:
        """Weights of the links, `(tracks, num_link_types, joints, joints)`, source first: each joint averages itself and what is
        linked to it, times `link_scale`."""
        joints = self.config.num_joints
        sender, receiver = joint_pairs(joints, edges.device)
        flat = edges.new_zeros(edges.shape[0], joints * joints, edges.shape[2] - 1)
        flat = flat.index_copy(1, sender * joints + receiver, edges[:, :, 1:])
        links = flat.transpose(1, 2).unflatten(2, (joints, joints))
        links = links + torch.eye(joints, dtype=links.dtype, device=links.device)
        return self.config.link_scale * links * (1 / links.sum(dim=2, keepdim=True) + 1e-10)


class ASGCNLinkDecoder(nn.Module):
    """Predicts every next pose over the links; only the first stage of training needs it (paper, Sec. 3.1)."""

    def __init__(self, config: ASGCNConfig):
        super().__init__()
        size, channels = config.link_hidden_size, config.num_channels
        types = 1 + config.num_link_types
        self.message = nn.ModuleList([nn.Linear(2 * size, size) for _ in range(types)])
        self.message_output = nn.ModuleList([nn.Linear(size, size) for _ in range(types)])
        # The first ones are of no effect, for nothing goes over "no link"; released checkpoints have them, and go there and back.
        self.hidden_reset, self.hidden_update, self.hidden_new = (nn.Linear(size, size, bias=False) for _ in range(3))
        self.input_reset, self.input_update, self.input_new = (nn.Linear(channels, size) for _ in range(3))
        self.dense, self.second_dense = (nn.Linear(size, size) for _ in range(2))
        self.output = nn.Linear(size, channels)
        self.dropout = nn.Dropout(config.link_dropout_prob)

    def forward(self, frames: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Predicts each frame from the true one before it.

        Args:
            frames: `(tracks, frames, joints, channels)`.
            edges: `(tracks, pairs, 1 + num_link_types)`.

        Returns:
            `(tracks, frames - 1, joints, channels)`, for the second frame and those after it.
        """
        sender, receiver = joint_pairs(frames.shape[2], frames.device)
        hidden = frames.new_zeros(len(frames), frames.shape[2], self.dense.in_features)
        poses = []
        for pose in frames[:, :-1].unbind(dim=1):
            hidden = self.step(pose, hidden, edges, sender, receiver)
            change = self.dropout(torch.relu(self.dense(hidden)))
            change = self.dropout(torch.relu(self.second_dense(change)))
            poses.append(pose + self.output(change))
        return torch.stack(poses, dim=1)

    def step(
        self,
        pose: torch.Tensor,
        hidden: torch.Tensor,
        edges: torch.Tensor,
        sender: torch.Tensor,
        receiver: torch.Tensor,
    ) -> torch.Tensor:
        """The next state of the joints, `(tracks, joints, link_hidden_size)`."""
        ends = torch.cat([hidden.index_select(1, receiver), hidden.index_select(1, sender)], dim=2)
        messages = torch.zeros_like(ends[..., : hidden.shape[2]])
        types = len(self.message) - 1
        for kind in range(1, types + 1):
            message = self.dropout(torch.tanh(self.message[kind](ends)))
            message = torch.tanh(self.message_output[kind](message))
            messages = messages + message * edges[:, :, kind : kind + 1] / types
        received = torch.zeros_like(hidden).index_add(1, receiver, messages.to(hidden.dtype)) / pose.shape[2]
        reset = torch.sigmoid(self.input_reset(pose) + self.hidden_reset(received))
        update = torch.sigmoid(self.input_update(pose) + self.hidden_update(received))
        new = torch.tanh(self.input_new(pose) + reset * self.hidden_new(received))
        return (1 - update) * new + update * hidden


# ---------------------------------------------------------------------------------------------------------------------
# Recognition and prediction of the future


class ASGCNGraphConvolution(PartitionedGraphConvolution):
    """Convolution over structural and action links (paper, Eq. 8)."""

    def __init__(self, config: ASGCNConfig, input_size: int, output_size: int, transposed: bool = False):
        super().__init__(
            input_size,
            output_size,
            config.num_subsets,
            config.num_joints,
            num_link_types=config.num_link_types,
            transposed=transposed,
        )


class ASGCNLayer(GradientCheckpointingLayer, GraphBlock):
    """One layer."""


class ASGCNFuturePose(nn.Module):
    """Predicts how the poses after the last one differ from it (paper, Sec. 3.4)."""

    def __init__(self, config: ASGCNConfig):
        super().__init__()
        self.config = config
        size, input_size = config.future_hidden_size, config.hidden_size
        self.layers = nn.ModuleList()
        for kernel_size, stride in _FUTURE_LAYERS:
            is_last = len(self.layers) == len(_FUTURE_LAYERS) - 1
            self.layers.append(
                ASGCNLayer(
                    ASGCNGraphConvolution(config, input_size, size),
                    input_size,
                    size,
                    kernel_size,
                    stride,
                    config.hidden_dropout_prob,
                    residual=not is_last,
                    padded=not is_last,
                )
            )
            input_size = size
        channels = config.num_channels
        values = config.future_frames * channels
        self.graph = ASGCNGraphConvolution(config, size + channels, values, transposed=True)
        self.graph_norm = FrameBatchNorm(values)
        self.conv = nn.ConvTranspose2d(values, values, 1)
        self.norm = FrameBatchNorm(values)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        # Of no effect; released checkpoints have two more of them than layers, and go there and back.
        joints = config.num_joints
        self.spare_edge_importance = nn.ParameterList(
            nn.Parameter(torch.ones(config.num_subsets, joints, joints)) for _ in range(2)
        )

    def forward(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None,
        graph: torch.Tensor,
        links: torch.Tensor,
        pose: torch.Tensor,
    ) -> torch.Tensor:
        """Predicts the frames that follow.

        Args:
            states: `(tracks, hidden_size, steps, joints)`, output of the encoder.
            mask: bool `(tracks, steps)` or None.
            graph: `(num_subsets, joints, joints)`.
            links: `(tracks, num_link_types, joints, joints)`, times their weight.
            pose: `(tracks, joints, channels)`, the last one observed.

        Returns:
            `(tracks, future_frames, joints, channels)`.
        """
        frames, channels = self.config.future_frames, self.config.num_channels
        for layer, (_, stride) in zip(self.layers[:-1], _FUTURE_LAYERS[:-1], strict=True):
            next_mask = stride_mask(mask, stride)
            states = layer(states, mask, next_mask, graph, links)
            mask = next_mask
        states = self.layers[-1](last_steps(states, mask, _FUTURE_STEPS), None, None, graph, links)
        last = pose.transpose(1, 2)[:, :, None].to(states.dtype)  # (tracks, channels, 1, joints)
        change = torch.relu(self.graph_norm(self.graph(torch.cat([states, last], dim=1), graph, links)))
        change = self.dropout(self.norm(self.conv(change)))[:, :, 0]  # (tracks, channels * frames, joints)
        if self.config.legacy_prediction_residual:
            # x, y, z, x, y, z, ... are added to what is read as x, x, ..., y, y, ...
            future = change + last[:, :, 0].repeat(1, frames, 1)
            return future.unflatten(1, (channels, frames)).permute(0, 2, 3, 1)
        return pose[:, None] + change.unflatten(1, (channels, frames)).permute(0, 2, 3, 1)


def last_steps(states: torch.Tensor, mask: torch.Tensor | None, count: int) -> torch.Tensor:
    """The last `count` steps that end with the last one there, with zeros in front of a track that is shorter.

    Args:
        states: `(tracks, channels, steps, joints)`, 0 where `mask` is False.
        mask: bool `(tracks, steps)` or None.
        count: steps to return.
    """
    steps = torch.arange(states.shape[2], device=states.device)
    last = steps[-1:, None] if mask is None else (mask * steps).amax(dim=1, keepdim=True)
    wanted = (last + torch.arange(1 - count, 1, device=states.device)).expand(len(states), -1)  # (tracks, count)
    found = states.take_along_dim(wanted.clamp(min=0)[:, None, :, None], dim=2)
    return found * (wanted >= 0)[:, None, :, None]


class ASGCNPreTrainedModel(CheckedLoading, PreTrainedModel):
    """Initialisation, loading and saving of all AS-GCN models."""

    config: ASGCNConfig
    base_model_prefix = "asgcn"
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["ASGCNLayer"]
    accepts_loss_kwargs = False
    # Beginnings of the names of parameters that do not learn; a class adds the parts that belong to another stage.
    fixed_parts: ClassVar[tuple[str, ...]] = ("asgcn.future.spare_edge_importance",)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`, which makes all parameters learn."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).fix_parts()
        return loaded

    def fix_parts(self) -> None:
        """Exempts `fixed_parts` from learning."""
        for name, parameter in self.named_parameters():
            if name.startswith(self.fixed_parts):
                parameter.requires_grad_(False)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the released code: convolutions N(0, 0.02), batch norms around 1, the inference module Xavier."""
        if isinstance(module, nn.Conv2d) or module is getattr(self, "classifier", None):
            init.normal_(module.weight, std=0.02)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            super()._init_weights(module)
            if isinstance(module, nn.BatchNorm2d):
                init.normal_(module.weight, mean=1.0, std=0.02)
        elif isinstance(module, nn.Linear | nn.ConvTranspose2d):  # as torch has them
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight.shape[1])
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, ASGCNLinkInference):  # after everything in it
            for linear in module.modules():
                if isinstance(linear, nn.Linear):
                    init.xavier_normal_(linear.weight)
                    init.constant_(linear.bias, 0.1)
        elif isinstance(module, PartitionedGraphConvolution):
            if module.edge_importance is not None:
                init.ones_(module.edge_importance)
        elif isinstance(module, ASGCNFuturePose):
            for importance in module.spare_edge_importance:
                init.ones_(importance)
        elif isinstance(module, ASGCNModel):
            init.copy_(module.graph, torch.from_numpy(self.config.make_graph()))


@dataclass
class EncodedTracks:
    """What the layers make of a batch.

    Args:
        tracks: the input.
        links: `(tracks, num_link_types, joints, joints)`.
        states: `(tracks, hidden_size, steps, joints)`.
        mask: bool `(tracks, steps)` or None.
    """

    tracks: Tracks
    links: torch.Tensor
    states: torch.Tensor
    mask: torch.Tensor | None


class ASGCNModel(WindowedFrameFeatures, ASGCNPreTrainedModel):
    """The encoder: sequences of any length, any number of persons, to one vector per step, person and sample.

    It holds the inference module of action links and the layers that predict the future, too; the latter take no part in
    `forward` (see [`predict_future`]).

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import ASGCNConfig, ASGCNModel

    >>> model = ASGCNModel(ASGCNConfig.from_preset("tiny")).eval()
    >>> model(torch.randn(2, 1, 60, 25, 3)).pooler_output.shape
    torch.Size([2, 32])
    ```
    """

    fixed_parts = ("future.spare_edge_importance",)
    graph: torch.Tensor

    def __init__(self, config: ASGCNConfig):
        super().__init__(config)
        self.register_buffer("graph", torch.from_numpy(config.make_graph()))
        self.link_inference = ASGCNLinkInference(config)
        self.input_norm = InputNorm(config.num_joints * config.num_channels)
        self.layers = nn.ModuleList()
        input_size = config.num_channels
        for number, (size, stride) in enumerate(zip(config.hidden_sizes, config.strides, strict=True)):
            self.layers.append(
                ASGCNLayer(
                    ASGCNGraphConvolution(config, input_size, size),
                    input_size,
                    size,
                    config.temporal_kernel_size,
                    stride,
                    config.hidden_dropout_prob,
                    residual=number > 0,
                )
            )
            input_size = size
        self.future = ASGCNFuturePose(config)
        self.post_init()
        self.fix_parts()

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> ASGCNModelOutput:
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
        encoded = self.encode(keypoints, frame_mask, record)
        steps, step_mask, pooled = pool_tracks(encoded.states, encoded.mask, encoded.tracks.chosen)
        return ASGCNModelOutput(
            last_hidden_state=steps,
            pooler_output=pooled,
            step_mask=step_mask,
            action_links=unpack(encoded.links, encoded.tracks.chosen),
            **record.as_fields(),
        )

    def encode(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None, record: LayerRecord | None = None
    ) -> EncodedTracks:
        """Infers the links, without a gradient, and runs the layers; for the arguments see `forward`."""
        tracks = make_tracks(self.config, keypoints, frame_mask)
        frames, _ = self.link_frames(keypoints, frame_mask, tracks.chosen)
        with torch.no_grad():
            links = self.link_inference.matrices(self.link_inference.draw(self.link_inference(frames)))
        states, mask = self.run_layers(tracks, links, record or LayerRecord())
        return EncodedTracks(tracks, links, states, mask)

    def link_frames(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None, chosen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames from which the links of each track are inferred, `(tracks, link_frames, joints, channels)`, and their numbers."""
        frame_mask, _ = check_inputs(self.config, keypoints, frame_mask)
        mask = pack(frame_mask, chosen)
        numbers = choose_frames(mask, self.config.link_frames, self.config.future_frames, self.link_inference.training)
        values = pack(keypoints, chosen).masked_fill(~mask[..., None, None], 0).to(self.dtype)
        return values.gather(1, numbers[..., None, None].expand(-1, -1, *values.shape[2:])), numbers

    def run_layers(
        self, tracks: Tracks, links: torch.Tensor, record: LayerRecord
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The layers of recognition: states `(tracks, hidden_size, steps, joints)` and which steps are there."""
        mask = tracks.mask
        states = self.input_norm(tracks.keypoints.to(self.dtype), mask)
        record.add(states)
        links = self.config.action_link_weight * links.to(states.dtype)
        for number, (layer, stride) in enumerate(zip(self.layers, self.config.strides, strict=True)):
            next_mask = stride_mask(mask, stride)
            if number == 1 and self.training and self.config.legacy_second_layer:
                with torch.no_grad():
                    layer(states, mask, next_mask, self.graph, links)
            states = layer(states, mask, next_mask, self.graph, links)
            mask = next_mask
            record.add(states)
        return states, mask

    def predict_future(self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Predicts the frames after the last one in which each person was observed.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`.

        Returns:
            `(batch, persons, future_frames, joints, channels)`, 0 for a person who was never observed.
        """
        encoded = self.encode(keypoints, frame_mask)
        return unpack(self.future_of(encoded, keypoints, frame_mask), encoded.tracks.chosen)

    def future_of(
        self, encoded: EncodedTracks, keypoints: torch.Tensor, frame_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """The same for what has been encoded, `(tracks, future_frames, joints, channels)`."""
        chosen = encoded.tracks.chosen
        frame_mask, _ = check_inputs(self.config, keypoints, frame_mask)
        mask = frame_mask[chosen]
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * places).amax(dim=1)
        values = keypoints[chosen].masked_fill(~mask[..., None, None], 0)
        pose = values.take_along_dim(last[:, None, None, None], dim=1)[:, 0]  # (tracks, joints, channels)
        links = self.config.action_link_weight * encoded.links.to(encoded.states.dtype)
        return self.future(encoded.states, encoded.mask, self.graph, links, pose)


class ASGCNPreTrainingCollator(PreTrainingCollator):
    """Pads sequences; the first stage of AS-GCN needs nothing else."""

    min_frames = 2
    min_augmented_frames = 2

    @classmethod
    def from_config(cls, config: Any, seed: int) -> "ASGCNPreTrainingCollator":
        """The same for every model: which links are drawn is up to the model, like dropout."""
        return cls()

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`keypoints` float32 `(B, M, T, V, C)` and `frame_mask` bool `(B, M, T)`, padded to the most persons and frames."""
        keypoints, frame_mask = pad_items(list(items))
        return {"keypoints": torch.from_numpy(keypoints), "frame_mask": torch.from_numpy(frame_mask)}


class ASGCNForPreTraining(PreTrainingObjective, ASGCNPreTrainedModel):
    """First stage: links are good if they help to predict the next pose, and few (paper, Eq. 2 to 5).

    The layers of recognition are there, as they were made, but nothing trains them.
    """

    collator_class = ASGCNPreTrainingCollator
    tasks = {
        "motion_loss_weight": ("motion_loss",),
        "link_prior_loss_weight": ("link_prior_loss", "link_share"),
    }
    fixed_parts = (
        "asgcn.input_norm.",
        "asgcn.layers.",
        "asgcn.future.",
        "link_decoder.message.0.",
        "link_decoder.message_output.0.",
    )

    def __init__(self, config: ASGCNConfig):
        super().__init__(config)
        self.asgcn = ASGCNModel(config)
        self.link_decoder = ASGCNLinkDecoder(config)
        self.post_init()
        self.fix_parts()

    @can_return_tuple
    def forward(self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None = None) -> ASGCNForPreTrainingOutput:
        """Computes the losses of a batch.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`.

        Raises:
            ValueError: shapes do not fit, nobody is present in a sample, or both losses have weight 0.
        """
        config, inference = self.config, self.asgcn.link_inference
        if not (config.motion_loss_weight or config.link_prior_loss_weight):
            raise ValueError(
                "both losses have weight 0; give motion_loss_weight or link_prior_loss_weight a positive one."
            )
        frame_mask, _ = check_inputs(config, keypoints, frame_mask)
        frames, _ = self.asgcn.link_frames(keypoints, frame_mask, frame_mask.any(dim=2))
        logits = inference(frames)
        edges = inference.draw(logits)
        tracks, joints = len(frames), frames.shape[2]
        loss = logits.new_zeros(())
        motion_loss = None
        if config.motion_loss_weight:
            error = self.link_decoder(frames, edges) - frames[:, 1:]
            motion_loss = error.float().square().sum() / (2 * config.motion_variance * tracks * joints)
            loss = loss + config.motion_loss_weight * motion_loss
        prior = torch.full_like(logits[0, 0], (1 - config.no_link_prior) / config.num_link_types)
        prior[0] = config.no_link_prior
        probability = logits.float().softmax(dim=-1)
        divergence = probability * ((probability + 1e-16).log() - prior.float().log())
        link_prior_loss = divergence.sum() / (tracks * joints)
        if config.link_prior_loss_weight:
            loss = loss + config.link_prior_loss_weight * link_prior_loss
        return ASGCNForPreTrainingOutput(
            loss=loss,
            motion_loss=None if motion_loss is None else motion_loss.detach(),
            link_prior_loss=link_prior_loss.detach(),
            link_share=edges[..., 1:].sum(dim=-1).mean().detach(),
        )


class ASGCNForActionRecognition(ActionRecognitionHead, ASGCNPreTrainedModel):
    """Second stage: the encoder with a linear classifier on its pooled feature; the inference module of links is fixed.

    In training, the last `future_frames` frames of each sequence (if it has more than twice as many) are held out, and predicted.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import ASGCNConfig, ASGCNForActionRecognition

    >>> model = ASGCNForActionRecognition(ASGCNConfig.from_preset("tiny", num_labels=60)).eval()
    >>> model(torch.randn(2, 2, 60, 25, 3)).logits.shape
    torch.Size([2, 60])
    ```
    """

    encoder_class = ASGCNModel
    fixed_parts = ("asgcn.link_inference.", "asgcn.future.spare_edge_importance.")

    def __init__(self, config: ASGCNConfig):
        super().__init__(config)
        self.fix_parts()

    def fix_parts(self) -> None:
        """Exempts the inference module from learning, and the prediction of the future where it has no weight."""
        super().fix_parts()
        if not self.config.future_loss_weight:
            self.asgcn.future.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> ActionRecognitionOutput:
        """Scores the classes of each sample; for the arguments see [`ActionRecognitionHead`].

        Raises:
            ValueError: a label is not one of the model's classes.
        """
        if not self.training or labels is None or not self.config.future_loss_weight:
            return super().forward(keypoints, frame_mask, labels, **kwargs)
        check_labels(labels, self.config)
        frame_mask, num_frames = check_inputs(self.config, keypoints, frame_mask)
        past, numbers, is_held = hold_out(frame_mask, num_frames, self.config.future_frames)
        encoded = self.asgcn.encode(keypoints, past)
        _, _, pooled = pool_tracks(encoded.states, encoded.mask, encoded.tracks.chosen)
        logits = self.classifier(pooled)
        loss = nn.functional.cross_entropy(logits.float(), labels.to(logits.device), ignore_index=IGNORED_LABEL)

        counted = (
            frame_mask.take_along_dim(numbers[:, None], dim=2) & is_held[:, None, None]
        )  # (batch, persons, frames)
        if not self.config.ignore_absent_person:
            counted = counted & (torch.arange(counted.shape[1], device=counted.device) == 0)[:, None]
        chosen = encoded.tracks.chosen
        target = keypoints.take_along_dim(numbers[:, None, :, None, None], dim=2)[chosen]
        counted = counted[chosen]  # (tracks, frames)
        future = self.asgcn.future_of(encoded, keypoints, past).float()
        error = (future - target.masked_fill(~counted[..., None, None], 0)).square().mean(dim=(2, 3))
        future_loss = (error * counted).sum() / counted.sum().clamp(min=1)
        return ASGCNForActionRecognitionOutput(
            loss=loss + self.config.future_loss_weight * future_loss, logits=logits, future_loss=future_loss.detach()
        )


def hold_out(
    frame_mask: torch.Tensor, num_frames: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sets the last frames of each sample aside.

    Args:
        frame_mask: bool `(batch, persons, frames)`.
        num_frames: int64 `(batch,)`, frames of each sample.
        count: frames to hold out.

    Returns:
        the mask without them; their numbers, int64 `(batch, count)`; bool `(batch,)`, False for a sample that is too short, or has nobody
        before them, and keeps its frames.
    """
    frames = torch.arange(frame_mask.shape[2], device=frame_mask.device)
    before = frame_mask & (frames < (num_frames - count)[:, None])[:, None]
    is_held = (num_frames > 2 * count) & before.flatten(1).any(dim=1)
    numbers = (num_frames - count)[:, None] + torch.arange(count, device=frame_mask.device)
    return torch.where(is_held[:, None, None], before, frame_mask), numbers.clamp(min=0), is_held


class ASGCNForActionDetection(ActionDetectionHead, ASGCNPreTrainedModel):
    """The encoder with a linear classifier on every frame, which the encoder sees in windows of `frame_window` frames."""

    encoder_class = ASGCNModel
    fixed_parts = ("asgcn.link_inference.", "asgcn.future.")

    def __init__(self, config: ASGCNConfig):
        super().__init__(config)
        self.fix_parts()


class ASGCNForMotionPrediction(MotionPredictionHead, ASGCNPreTrainedModel):
    """The encoder with a GRU that goes on from the last observed pose."""

    encoder_class = ASGCNModel
    fixed_parts = ("asgcn.link_inference.", "asgcn.future.")

    def __init__(self, config: ASGCNConfig):
        super().__init__(config)
        self.fix_parts()


__all__ = [
    "ASGCNForActionDetection",
    "ASGCNForActionRecognition",
    "ASGCNForActionRecognitionOutput",
    "ASGCNForMotionPrediction",
    "ASGCNForPreTraining",
    "ASGCNForPreTrainingOutput",
    "ASGCNModel",
    "ASGCNModelOutput",
    "ASGCNPreTrainedModel",
    "ASGCNPreTrainingCollator",
]
