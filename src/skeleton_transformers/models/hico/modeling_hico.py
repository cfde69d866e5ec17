"""HiCo (Dong et al., "Hierarchical Contrast for Unsupervised Skeleton-Based Action Representation Learning", AAAI 2023).

Two branches read the same sequence: the temporal one as frames, the spatial one as joints. Each makes ever coarser versions of its
tokens (unified down-sampling, UDM) and sums every version up with one sequence encoder (S2S):

    keypoints (batch, persons, frames, joints, channels), resized to num_frames, persons put in their places
      -> time-major   (batch, num_frames, num_persons * joints * channels)
      -> space-major  (batch, num_persons * joints, num_frames * channels)
    in each branch, for every granularity
      embeddings, then down-sampled      (batch, tokens / 2^granularity, branch_size)
      -> S2S encoder, maximum over tokens (batch, branch_size)
    clip_hidden_state, part_hidden_state  (batch, num_granularities, branch_size)
      -> pooler_output                    (batch, 2 * num_granularities * branch_size), clips before parts

An encoder may also have one of the branches alone (paper, Table 3).

Pre-training contrasts two views of a sequence, one through these parameters (query), the other through a copy that follows them
(key), on four levels: instance, domain, clip and part.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple

from ...data.batch_augmentation import resize_part
from ...data.pretraining_collators import TwoViewCollator
from ...modeling_attention import LayerRecord, backward_in_float32, eager_attention_forward, make_attention_mask
from ...modeling_inputs import check_inputs, is_exporting, present_first
from ...modeling_loading import CheckedLoading
from ...modeling_outputs import SkeletonModelOutput, SkeletonPreTrainingOutput
from ...modeling_pretraining import PreTrainingObjective
from ...modeling_tasks import ActionDetectionHead, ActionRecognitionHead, MotionPredictionHead, WindowedFrameFeatures
from ...objectives.feature_queue import FeatureQueue
from ...objectives.info_nce import info_nce_with_negatives
from ...objectives.momentum import MomentumEncoder
from .configuration_hico import HiCoConfig


@dataclass
class HiCoModelOutput(SkeletonModelOutput):
    """Output of [`HiCoModel`]; a step is one of the `num_frames` frames that the sequence is resized to.

    Args:
        last_hidden_state: `(batch, persons, num_frames, branch_size)`, the temporal branch at the finest granularity, 0 where
            `step_mask` is False. A frame has one vector for all of its persons. The spatial branch alone, which reads no frames, has
            one step, the whole sequence at the finest granularity: `(batch, persons, 1, branch_size)`.
        pooler_output: `(batch, hidden_size)`, `clip_hidden_state` and then `part_hidden_state`, the finest granularity first.
        step_mask: bool `(batch, persons, num_frames)`, the frame mask after resizing; with one step, who is there at all.
        hidden_states: with `output_hidden_states=True`, for every granularity of the temporal branch, then of the spatial
            one, its tokens `(batch, tokens, branch_size)` and the output of every layer of the sequence encoder.
        attentions: with `output_attentions=True` (eager attention only), the weights of these layers,
            `(batch, heads, tokens, tokens)`; none for the recurrent encoders.
        clip_hidden_state: `(batch, num_granularities, branch_size)`, the temporal branch; None without it.
        part_hidden_state: `(batch, num_granularities, branch_size)`, the spatial branch; None without it.
    """

    clip_hidden_state: torch.Tensor | None = None
    part_hidden_state: torch.Tensor | None = None


@dataclass
class HiCoForPreTrainingOutput(SkeletonPreTrainingOutput):
    """Output of [`HiCoForPreTraining`]. Only `loss` has a gradient; what a task with weight 0 would give is None.

    Args:
        loss: weighted sum of the four losses.
        instance_loss: the whole sequence against other sequences.
        domain_loss: the temporal against the spatial domain of the other view, and the reverse, added.
        clip_loss: the finest clips against clips of all granularities of the other view.
        part_loss: the finest parts against parts of all granularities of the other view.
        instance_accuracy: share of queries nearer to a positive than to all negatives.
        domain_accuracy: the same, mean of both directions.
        clip_accuracy: the same.
        part_accuracy: the same.
    """

    instance_loss: torch.Tensor | None = None
    domain_loss: torch.Tensor | None = None
    clip_loss: torch.Tensor | None = None
    part_loss: torch.Tensor | None = None
    instance_accuracy: torch.Tensor | None = None
    domain_accuracy: torch.Tensor | None = None
    clip_accuracy: torch.Tensor | None = None
    part_accuracy: torch.Tensor | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Sequence encoders (S2S)


class HiCoAttentionLinear(nn.Linear):
    """A linear map of the attention, whose bias starts at 0."""


class HiCoAttention(nn.Module):
    """Multi-head self-attention with biases."""

    def __init__(self, config: HiCoConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.scaling = (config.branch_size // config.num_attention_heads) ** -0.5
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.is_causal = False
        self.query_key_value = HiCoAttentionLinear(config.branch_size, 3 * config.branch_size)
        self.output = HiCoAttentionLinear(config.branch_size, config.branch_size)

    def forward(self, hidden_states: torch.Tensor, attention_mask: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(batch, tokens, branch_size)` -> the same, and with eager attention the weights `(batch, heads, tokens, tokens)`."""
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        # (batch, tokens, 3 * heads * head_size) -> 3 x (batch, heads, tokens, head_size)
        query, key, value = (
            states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for states in self.query_key_value(hidden_states).chunk(3, dim=-1)
        )
        dropout = self.dropout.p if self.training else 0.0
        context, weights = backward_in_float32(attend)(
            self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling
        )
        return self.output(context.flatten(2)), weights


class HiCoTransformerLayer(GradientCheckpointingLayer):
    """Post-norm transformer layer. There are no positions: a set of frames or joints is encoded, not their order."""

    def __init__(self, config: HiCoConfig):
        super().__init__()
        self.attention = HiCoAttention(config)
        self.layernorm_attention = nn.LayerNorm(config.branch_size, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(config.branch_size, config.intermediate_size)
        self.activation = nn.ReLU()
        self.output = nn.Linear(config.intermediate_size, config.branch_size)
        self.layernorm_output = nn.LayerNorm(config.branch_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor, attention_mask: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(batch, tokens, branch_size)` -> the same, and the attention weights."""
        attended, weights = self.attention(hidden_states, attention_mask)
        hidden_states = self.layernorm_attention(hidden_states + self.dropout(attended))
        intermediate = self.dropout(self.activation(self.intermediate(hidden_states)))
        return self.layernorm_output(hidden_states + self.dropout(self.output(intermediate))), weights


class HiCoTransformer(nn.Module):
    """Transformer as sequence encoder."""

    def __init__(self, config: HiCoConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList([HiCoTransformerLayer(config) for _ in range(config.num_layers)])

    def forward(self, states: torch.Tensor, mask: torch.Tensor, record: LayerRecord) -> torch.Tensor:
        """`(batch, tokens, branch_size)` -> the same; `mask` bool `(batch, tokens)`."""
        attention_mask = make_attention_mask(self.config, mask[:, None, None], states.shape[1], states.dtype)
        for layer in self.layers:
            states, weights = layer(states, attention_mask)
            record.add(states, weights)
        return states


class HiCoRecurrentLayers(GradientCheckpointingLayer):
    """Bidirectional GRU or LSTM."""

    def __init__(self, config: HiCoConfig):
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[config.encoder]
        self.rnn = kind(
            config.branch_size,
            config.branch_size // 2,
            config.num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.hidden_dropout_prob if config.num_layers > 1 else 0.0,
        )

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`(batch, tokens, branch_size)` -> the same, 0 where `mask` is False: the network passes over these tokens."""
        if is_exporting():
            return self.run_directions(states, mask)
        if bool(mask.all()):
            return self.rnn(states)[0]
        # Tokens that are there move to the front, in their order, and back to their places.
        order = present_first(mask)[..., None]
        packed = pack_padded_sequence(
            states.take_along_dim(order, dim=1), mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
        )
        front, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=mask.shape[1])
        return torch.zeros_like(front).scatter(1, order.expand_as(front), front)

    def run_directions(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The same for a graph to export, which has no packed sequences: layer by layer, each direction from its own first token."""
        width = states.shape[2]
        length = mask.sum(dim=1, keepdim=True)  # (batch, 1)
        order = present_first(mask)[..., None].expand(-1, -1, width)
        place = torch.arange(mask.shape[1], device=mask.device)
        # What is behind the last token may stay, for the network comes there last, and it is left out below.
        backward = torch.where(place < length, length - 1 - place, place)[..., None].expand(-1, -1, width)
        front = states.gather(1, order)
        for layer in range(self.rnn.num_layers):
            there = self.run_direction(front, f"_l{layer}")
            back = self.run_direction(front.gather(1, backward), f"_l{layer}_reverse")
            front = torch.cat([there, back.gather(1, backward[..., : back.shape[2]])], dim=2)
        return torch.zeros_like(front).scatter(1, order, front * (place < length)[..., None])

    def run_direction(self, states: torch.Tensor, suffix: str) -> torch.Tensor:
        """One layer in one direction, `(batch, tokens, branch_size)` -> `(batch, tokens, branch_size / 2)`."""
        weights = [getattr(self.rnn, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        start = states.new_zeros(1, states.shape[0], self.rnn.hidden_size)
        options = (
            weights,
            True,
            1,
            0.0,
            False,
            False,
            True,
        )  # biases, one layer, no dropout, one direction, batch first
        if isinstance(self.rnn, nn.GRU):
            return torch.gru(states, start, *options)[0]
        return torch.lstm(states, (start, start), *options)[0]


class HiCoRecurrent(nn.Module):
    """Recurrent network as sequence encoder."""

    def __init__(self, config: HiCoConfig):
        super().__init__()
        self.layers = HiCoRecurrentLayers(config)

    def forward(self, states: torch.Tensor, mask: torch.Tensor, record: LayerRecord) -> torch.Tensor:
        """`(batch, tokens, branch_size)` -> the same; `mask` bool `(batch, tokens)`."""
        states = self.layers(states, mask)
        record.add(states)
        return states


# ---------------------------------------------------------------------------------------------------------------------
# Branches


class HiCoEmbeddings(nn.Module):
    """Coordinates to tokens, the finest granularity (paper, Eq. 1)."""

    def __init__(self, config: HiCoConfig, input_size: int):
        super().__init__()
        self.dense = nn.Linear(input_size, config.branch_size)
        self.layer_norm: nn.Module = nn.Identity()
        if config.embedding_layer_norm:
            self.layer_norm = nn.LayerNorm(config.branch_size, eps=config.layer_norm_eps)
        self.activation = nn.ReLU()
        self.output = nn.Linear(config.branch_size, config.branch_size)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`(batch, tokens, input_size)` -> `(batch, tokens, branch_size)`."""
        return self.output(self.activation(self.layer_norm(self.dense(inputs))))


class HiCoDownsampling(nn.Module):
    """Unified down-sampling module: half as many tokens, each the maximum over two neighbours of a convolution."""

    def __init__(self, config: HiCoConfig):
        super().__init__()
        size, kernel = config.branch_size, config.downsampling_kernel_size
        groups = size if config.depthwise_downsampling else 1
        self.conv = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=groups)
        self.layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.activation = nn.ReLU()
        self.norm_first = config.downsampling_norm_first

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(batch, tokens, branch_size)` -> `(batch, tokens // 2, branch_size)`, and the mask of the new tokens.

        A token that is masked counts as zeros in the convolution, and not at all in the maximum.
        """
        states = (states * mask[..., None]).transpose(1, 2)
        states = self.conv(states).transpose(1, 2)
        states = (
            self.activation(self.layer_norm(states)) if self.norm_first else self.layer_norm(self.activation(states))
        )
        states = states.masked_fill(~mask[..., None], float("-inf"))
        pairs = states.shape[1] // 2  # an odd token at the end is dropped
        states = states[:, : 2 * pairs].unflatten(1, (pairs, 2)).amax(dim=2)
        mask = mask[:, : 2 * pairs].unflatten(1, (pairs, 2)).any(dim=2)
        return states.masked_fill(~mask[..., None], 0), somebody(mask)


class HiCoBranch(nn.Module):
    """One view of the sequence, at all granularities (paper, Sec. 3.2). They share down-sampling and sequence encoder."""

    def __init__(self, config: HiCoConfig, input_size: int):
        super().__init__()
        self.num_granularities = config.num_granularities
        self.embeddings = HiCoEmbeddings(config, input_size)
        self.downsampling = HiCoDownsampling(config)
        self.encoder = HiCoTransformer(config) if config.encoder == "transformer" else HiCoRecurrent(config)

    def forward(
        self, inputs: torch.Tensor, mask: torch.Tensor, record: LayerRecord
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes the tokens of a branch.

        A granularity is made from the tokens of the one before, not from what the sequence encoder made of them.

        Args:
            inputs: `(batch, tokens, input_size)`.
            mask: bool `(batch, tokens)`, tokens that count, at least one per sample.
            record: collects the states of the layers.

        Returns:
            `(batch, num_granularities, branch_size)`, and the encoded tokens of the finest granularity
            `(batch, tokens, branch_size)`.
        """
        states = self.embeddings(inputs)
        sums, finest = [], states
        for granularity in range(self.num_granularities):
            if granularity:
                states, mask = self.downsampling(states, mask)
            record.add(states)
            encoded = self.encoder(states, mask, record)
            sums.append(encoded.masked_fill(~mask[..., None], float("-inf")).amax(dim=1))
            finest = encoded if granularity == 0 else finest
        return torch.stack(sums, dim=1), finest


def somebody(mask: torch.Tensor) -> torch.Tensor:
    """A mask `(batch, tokens)` that is True throughout where it was False throughout: there is something to attend to.

    Resizing a very long sequence can step over the only frames in which somebody is there.
    """
    return mask | ~mask.any(dim=1, keepdim=True)


def take_places(
    config: HiCoConfig, keypoints: torch.Tensor, frame_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Puts the persons who are present into the first of the `num_persons` places, in their order.

    Args:
        config: number of places.
        keypoints: `(batch, persons, frames, joints, channels)`, 0 where nobody is.
        frame_mask: bool `(batch, persons, frames)`.

    Raises:
        ValueError: a sample has more persons than there are places.
    """
    places = config.num_persons
    keypoints = nn.functional.pad(keypoints, (0, 0, 0, 0, 0, 0, 0, places))
    frame_mask = nn.functional.pad(frame_mask, (0, 0, 0, places))
    present = frame_mask.any(dim=2)
    count = present.sum(dim=1)
    if not torch.compiler.is_compiling() and bool((count > places).any()):
        raise ValueError(
            f"sample {int(count.argmax())} of the batch has {int(count.max())} persons, but the model has places for "
            f"num_persons={places}. Choose persons with max_persons and person_selection of "
            "SkeletonFeatureExtractor, or make a model with more places."
        )
    order = present_first(present)[:, :places]
    keypoints = keypoints.gather(1, order[..., None, None, None].expand(-1, -1, *keypoints.shape[2:]))
    return keypoints, frame_mask.gather(1, order[..., None].expand(-1, -1, frame_mask.shape[2]))


# ---------------------------------------------------------------------------------------------------------------------
# Models


class HiCoPreTrainedModel(CheckedLoading, PreTrainedModel):
    """Initialisation, loading and saving of all HiCo models."""

    config: HiCoConfig
    base_model_prefix = "hico"
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["HiCoTransformerLayer", "HiCoRecurrentLayers"]
    _supports_sdpa = True
    _supports_flex_attn = True
    # Flash attention takes no mask of tokens.
    _supports_flash_attn = False
    _supports_attention_backend = True
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the released code: Xavier for every matrix, also of recurrent layers, torch's own initialisation for the rest."""
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            bound = 0.0 if isinstance(module, HiCoAttentionLinear) else module.in_features**-0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.RNNBase):
            bound = module.hidden_size**-0.5
            for parameter in module.parameters():
                if parameter.ndim == 2:
                    init.xavier_uniform_(parameter)
                else:
                    init.uniform_(parameter, -bound, bound)
        elif isinstance(module, nn.Conv1d):
            bound = (module.in_channels // module.groups * module.kernel_size[0]) ** -0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, FeatureQueue):
            module.reset_parameters()


class HiCoModel(WindowedFrameFeatures, HiCoPreTrainedModel):
    """The encoder: sequences of any length to one vector per granularity of clips and parts, and per sample.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiCoConfig, HiCoModel

    >>> model = HiCoModel(HiCoConfig.from_preset("tiny")).eval()
    >>> keypoints = torch.randn(2, 1, 60, 25, 3)  # (batch, persons, frames, joints, channels)
    >>> frame_mask = torch.ones(2, 1, 60, dtype=torch.bool)
    >>> model(keypoints, frame_mask).pooler_output.shape
    torch.Size([2, 256])
    ```
    """

    resizes_sequences = True

    def __init__(self, config: HiCoConfig):
        super().__init__(config)
        persons = config.num_persons
        if "temporal" in config.branch_names:
            self.temporal = HiCoBranch(config, persons * config.num_joints * config.num_channels)
        if "spatial" in config.branch_names:
            persons_per_token = persons if config.spatial_tokens == "joint" else 1
            self.spatial = HiCoBranch(config, persons_per_token * config.num_frames * config.num_channels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> HiCoModelOutput:
        """Encodes a batch.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`; what it holds where `frame_mask` is False does
                not matter.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there; None means wherever any
                coordinate is not 0.
            output_hidden_states: also return the states of all layers.
            output_attentions: also return the attention weights; needs `attn_implementation="eager"`.

        Raises:
            ValueError: shapes do not fit the model, nobody is present in a sample, or too many persons are.
        """
        config = self.config
        record = LayerRecord.make(config, output_hidden_states, output_attentions)
        frame_mask, num_frames = check_inputs(config, keypoints, frame_mask)
        keypoints = keypoints.masked_fill(~frame_mask[..., None, None], 0)
        keypoints, step_mask = resize_part(
            keypoints,
            frame_mask,
            torch.zeros_like(num_frames),
            num_frames,
            torch.full_like(num_frames, config.num_frames),
            config.num_frames,
        )
        placed, placed_mask = take_places(config, keypoints.to(self.dtype), step_mask)

        time_mask = somebody(placed_mask.any(dim=1))  # (batch, num_frames)
        person_mask = somebody(placed_mask.any(dim=2))  # (batch, num_persons)
        if not config.ignore_absent_person:
            time_mask, person_mask = torch.ones_like(time_mask), torch.ones_like(person_mask)
        clips: torch.Tensor | None = None
        parts: torch.Tensor | None = None
        frames: torch.Tensor | None = None
        if "temporal" in config.branch_names:
            # (B, M, T, V, C) -> (B, T, M * V * C)
            clips, frames = self.temporal(placed.transpose(1, 2).flatten(2), time_mask, record)
        if "spatial" in config.branch_names:
            if config.spatial_tokens == "person_joint":
                joints = placed.transpose(2, 3).flatten(3).flatten(1, 2)  # (B, M, T, V, C) -> (B, M * V, T * C)
                joint_mask = person_mask.repeat_interleave(config.num_joints, dim=1)
            else:
                joints = placed.permute(0, 3, 1, 2, 4).flatten(2)  # (B, M, T, V, C) -> (B, V, M * T * C)
                joint_mask = person_mask.new_ones(joints.shape[:2])
            parts, _ = self.spatial(joints, joint_mask, record)
        levels = [level for level in (clips, parts) if level is not None]
        if frames is None:
            frames, step_mask = levels[0][:, :1], frame_mask.any(dim=2, keepdim=True)
        return HiCoModelOutput(
            last_hidden_state=frames[:, None] * step_mask[..., None],
            pooler_output=torch.cat([level.flatten(1) for level in levels], dim=1),
            step_mask=step_mask,
            clip_hidden_state=clips,
            part_hidden_state=parts,
            **record.as_fields(),
        )


class HiCoProjector(nn.Module):
    """Two linear maps with a ReLU between them. The contrasts and the queues normalise what comes out."""

    def __init__(self, config: HiCoConfig, input_size: int):
        super().__init__()
        self.dense = nn.Linear(input_size, config.projection_hidden_size)
        self.activation = nn.ReLU()
        self.output = nn.Linear(config.projection_hidden_size, config.projection_size)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(..., input_size)` -> `(..., projection_size)`."""
        return self.output(self.activation(self.dense(features)))


class HiCoProjections(nn.Module):
    """One projector per level of contrast; the one of clips serves all granularities, and so does the one of parts.

    A level whose branch is not there has none.
    """

    def __init__(self, config: HiCoConfig):
        super().__init__()
        self.config = config
        branch = config.num_granularities * config.branch_size
        self.instance = HiCoProjector(config, config.hidden_size)
        if config.branches == "both":
            self.temporal = HiCoProjector(config, branch)
            self.spatial = HiCoProjector(config, branch)
        if "temporal" in config.branch_names:
            self.clip = HiCoProjector(config, config.branch_size)
        if "spatial" in config.branch_names:
            self.part = HiCoProjector(config, config.branch_size)

    def forward(self, outputs: HiCoModelOutput) -> dict[str, torch.Tensor]:
        """What is contrasted, by the name of its projector; what belongs to a task of weight 0 is left out.

        Returns:
            `instance`, `temporal`, `spatial`: `(batch, projection_size)`;
            `clip`, `part`: `(batch, num_granularities, projection_size)`, the finest granularity first.
        """
        config, projected = self.config, {}
        clips, parts = outputs.clip_hidden_state, outputs.part_hidden_state
        if config.instance_loss_weight:
            projected["instance"] = self.instance(outputs.pooler_output)
        if clips is not None and parts is not None and config.domain_loss_weight:
            projected |= {"temporal": self.temporal(clips.flatten(1)), "spatial": self.spatial(parts.flatten(1))}
        if clips is not None and config.clip_loss_weight:
            projected["clip"] = self.clip(clips)
        if parts is not None and config.part_loss_weight:
            projected["part"] = self.part(parts)
        return projected


def check_contrasts(config: HiCoConfig) -> None:
    """Raises a `ValueError` if a contrast is asked for that needs a branch which the encoder does not have."""
    needs = {"domain": ("temporal", "spatial"), "clip": ("temporal",), "part": ("spatial",)}
    wanted = [
        f"{level}_loss_weight"
        for level, branches in needs.items()
        if getattr(config, f"{level}_loss_weight") and not set(branches) <= set(config.branch_names)
    ]
    if wanted:
        raise ValueError(
            f"branches={config.branches!r} leaves out a branch that {' and '.join(wanted)} would contrast; set "
            f"{'them' if len(wanted) > 1 else 'it'} to 0, or branches='both'."
        )


class HiCoForPreTraining(PreTrainingObjective, HiCoPreTrainedModel):
    """Contrast of two views on four levels (paper, Sec. 3.3). The views come with the batch, from [`TwoViewCollator`].

    The key encoder and the queues of negatives belong to the state of a training run, which `accelerate` saves. They are not
    written by `save_pretrained`: a model that is loaded starts with a copy of itself and random queues.
    """

    collator_class = TwoViewCollator
    tasks = {
        "instance_loss_weight": ("instance_loss", "instance_accuracy"),
        "domain_loss_weight": ("domain_loss", "domain_accuracy"),
        "clip_loss_weight": ("clip_loss", "clip_accuracy"),
        "part_loss_weight": ("part_loss", "part_accuracy"),
    }
    _keys_to_ignore_on_load_missing = [r"^key_encoder\.", r"^key_projections\.", r"^queues\."]

    def __init__(self, config: HiCoConfig):
        super().__init__(config)
        check_contrasts(config)
        self.hico = HiCoModel(config)
        self.projections = HiCoProjections(config)
        self.key_encoder = MomentumEncoder(self.hico, config.momentum)
        self.key_projections = MomentumEncoder(self.projections, config.momentum)
        size, levels_size = config.queue_size, config.queue_size * config.num_granularities
        refreshed = size if config.legacy_queue_pointer else None
        self.queues = nn.ModuleDict(
            {
                name: FeatureQueue(levels_size, config.projection_size, refreshed)
                if name in ("clip", "part")
                else FeatureQueue(size, config.projection_size)
                for name, _ in self.projections.named_children()
            }
        )
        self._keys_to_ignore_on_save = {
            name for name in self.state_dict() if name.startswith(("key_encoder.", "key_projections.", "queues."))
        }
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # What they copy is registered, and so initialised or loaded, before them.
        if module is self.key_encoder:
            self.key_encoder.restart(self.hico)
        elif module is self.key_projections:
            self.key_projections.restart(self.projections)

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor,
        second_keypoints: torch.Tensor,
        second_frame_mask: torch.Tensor,
    ) -> HiCoForPreTrainingOutput:
        """Computes the losses of a batch. In training mode the keys enter the queues afterwards.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`, one view of the sequences, for the query.
            frame_mask: bool `(batch, persons, frames)`.
            second_keypoints: float `(batch, persons, frames, joints, channels)`, the other view, for the key.
            second_frame_mask: bool `(batch, persons, frames)`.

        Raises:
            ValueError: shapes do not fit, or all losses have weight 0.
        """
        config = self.config
        if self.training and config.momentum_update == "before_encoding":
            self.follow()
        query = self.projections(self.hico(keypoints, frame_mask, return_dict=True))
        key = self.key_projections(self.key_encoder(second_keypoints, second_frame_mask, return_dict=True))
        losses: list[torch.Tensor] = []  # times their weights
        parts: dict[str, torch.Tensor] = {}

        if config.instance_loss_weight:
            loss, accuracy = self.contrast(query["instance"], key["instance"], "instance")
            losses.append(config.instance_loss_weight * loss)
            parts |= {"instance_loss": loss.detach(), "instance_accuracy": accuracy}
        if config.domain_loss_weight:
            # Positive and negatives both come from the other domain.
            to_space, space_accuracy = self.contrast(query["temporal"], key["spatial"], "spatial")
            to_time, time_accuracy = self.contrast(query["spatial"], key["temporal"], "temporal")
            losses.append(config.domain_loss_weight * (to_space + to_time))
            accuracy = (space_accuracy + time_accuracy) / 2
            parts |= {"domain_loss": (to_space + to_time).detach(), "domain_accuracy": accuracy}
        for level in ("clip", "part"):
            weight = getattr(config, f"{level}_loss_weight")
            if weight:
                # The finest granularity of the query belongs to all granularities of the key.
                loss, accuracy = self.contrast(query[level][:, 0], key[level], level)
                losses.append(weight * loss)
                parts |= {f"{level}_loss": loss.detach(), f"{level}_accuracy": accuracy}
        if not losses:
            raise ValueError("all pre-training losses have weight 0; give at least one of them a positive weight.")

        if self.training:
            for name, features in key.items():
                self.queue(name).push(features.flatten(0, -2))  # (batch, granularities, dim) -> (rows, dim)
        return HiCoForPreTrainingOutput(loss=torch.stack(losses).sum(), **parts)

    def contrast(self, query: torch.Tensor, key: torch.Tensor, queue: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and accuracy of queries `(batch, dim)` with their keys `(batch, dim)` or `(batch, keys, dim)`."""
        return info_nce_with_negatives(query, key, self.queue(queue).candidates(), self.config.temperature)

    def queue(self, name: str) -> FeatureQueue:
        """The queue of a projector's outputs."""
        queue = self.queues[name]
        assert isinstance(queue, FeatureQueue)
        return queue

    def follow(self) -> None:
        """The key encoder takes one step towards the query encoder."""
        self.key_encoder.follow(self.hico)
        self.key_projections.follow(self.projections)

    def after_optimizer_step(self) -> None:
        """See [`PreTrainingObjective`]."""
        if self.config.momentum_update == "after_step":
            self.follow()


class HiCoForActionRecognition(ActionRecognitionHead, HiCoPreTrainedModel):
    """The encoder with a linear classifier on its pooled feature.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiCoConfig, HiCoForActionRecognition

    >>> model = HiCoForActionRecognition(HiCoConfig.from_preset("tiny", num_labels=60)).eval()
    >>> model(torch.randn(2, 2, 60, 25, 3)).logits.shape
    torch.Size([2, 60])
    ```
    """

    encoder_class = HiCoModel

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.classifier:  # the linear evaluation of the released code
            init.normal_(module.weight, std=0.01)
            init.zeros_(module.bias)


class HiCoForActionDetection(ActionDetectionHead, HiCoPreTrainedModel):
    """The encoder with a linear classifier on every frame, which the encoder sees in windows of `num_frames` frames.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiCoConfig, HiCoForActionDetection

    >>> model = HiCoForActionDetection(HiCoConfig.from_preset("tiny", num_labels=52)).eval()
    >>> model(torch.randn(1, 2, 100, 25, 3)).logits.shape
    torch.Size([1, 100, 52])
    ```
    """

    encoder_class = HiCoModel


class HiCoForMotionPrediction(MotionPredictionHead, HiCoPreTrainedModel):
    """The encoder with a GRU that goes on from the last observed pose.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiCoConfig, HiCoForMotionPrediction

    >>> model = HiCoForMotionPrediction(HiCoConfig.from_preset("tiny")).eval()
    >>> model(torch.randn(2, 1, 60, 25, 3)).predicted_keypoints.shape
    torch.Size([2, 1, 12, 25, 3])
    ```
    """

    encoder_class = HiCoModel


__all__ = [
    "HiCoForActionDetection",
    "HiCoForActionRecognition",
    "HiCoForMotionPrediction",
    "HiCoForPreTraining",
    "HiCoForPreTrainingOutput",
    "HiCoModel",
    "HiCoModelOutput",
    "HiCoPreTrainedModel",
]
