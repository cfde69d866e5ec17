"""The segment-joint transformer, which MAMP and the student-teacher model share.

A token is one joint of one person in one segment, a few frames long (MAMP: Mao et al., "Masked Motion Predictors are Strong 3D Action
Representation Learners", ICCV 2023):

    keypoints (batch, persons, frames, joints, channels), resized to num_frames
      -> values            (batch, persons, segments, joints, segment_length * channels)
      -> tokens            (batch, persons, segments, joints, hidden_size), plus a joint and a segment embedding
      -> attention rows    joint: (batch * persons, segments * joints); spatial: (batch * persons * segments, joints);
                           temporal: (batch * persons * joints, segments)
      -> packed            rows without tokens left out, the tokens that count at the front: (rows, most tokens, hidden_size)

Tokens that do not count, because nobody is there, a joint was not found, or pre-training masks them, are not computed at all.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple

from ..data.batch_augmentation import resize_part
from ..modeling_attention import LayerRecord, backward_in_float32, eager_attention_forward, make_attention_mask
from ..modeling_inputs import check_inputs
from ..modeling_loading import CheckedLoading
from ..modeling_outputs import SkeletonModelOutput
from ..modeling_tasks import ActionRecognitionHead, WindowedFrameFeatures
from ..objectives.gather import mean_over_processes
from .segment_configuration import SegmentTransformerConfig


@dataclass
class SegmentModelOutput(SkeletonModelOutput):
    """Output of a segment-joint encoder; a step is a segment.

    Args:
        last_hidden_state: `(batch, persons, segments, hidden_size)`, the mean over the joints of a segment that were found.
        pooler_output: `(batch, hidden_size)`, the mean over all tokens of a sample.
        step_mask: bool `(batch, persons, segments)`, True where the person is there in a frame of the segment.
        hidden_states: with `output_hidden_states=True`, the embeddings and the output of every layer, each
            `(batch, persons, segments, joints, hidden_size)`, 0 where `token_mask` is False.
        attentions: with `output_attentions=True` (eager attention only), the weights of every layer,
            `(packed rows, heads, packed tokens, packed tokens)`.
        token_hidden_state: `(batch, persons, segments, joints, hidden_size)`, 0 where `token_mask` is False.
        token_mask: bool `(batch, persons, segments, joints)`, tokens that count.
    """

    token_hidden_state: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Tokens


@dataclass(frozen=True)
class SegmentTokens:
    """A batch as tokens.

    Args:
        frames: float32 `(batch, persons, num_frames, joints, channels)`, resized, 0 where nobody is.
        frame_mask: bool `(batch, persons, num_frames)`.
        values: float32 `(batch, persons, segments, joints, segment_length * channels)`, the same frames.
        mask: bool `(batch, persons, segments, joints)`, tokens that count.
        step_mask: bool `(batch, persons, segments)`, see [`SegmentModelOutput`].
    """

    frames: torch.Tensor
    frame_mask: torch.Tensor
    values: torch.Tensor
    mask: torch.Tensor
    step_mask: torch.Tensor


def cut_segments(config: SegmentTransformerConfig, frames: torch.Tensor) -> torch.Tensor:
    """`(batch, persons, num_frames, joints, n)` -> `(batch, persons, segments, joints, segment_length * n)`."""
    # (B, M, T, V, n) -> (B, M, S, L, V, n) -> (B, M, S, V, L, n) -> (B, M, S, V, L * n)
    return frames.unflatten(2, (-1, config.segment_length)).transpose(3, 4).flatten(4)


def make_tokens(
    config: SegmentTransformerConfig, keypoints: torch.Tensor, frame_mask: torch.Tensor | None
) -> SegmentTokens:
    """Brings sequences to `num_frames` frames and cuts them into tokens.

    A token counts where the person is there in one of its frames and the joint was found, that is, one of its values is not 0. Where
    no joint of a person was found, all of them count: somebody is there. With `ignore_absent_person=False` everything counts.

    Args:
        config: sizes.
        keypoints: `(batch, persons, frames, joints, channels)`.
        frame_mask: bool `(batch, persons, frames)`, or None for wherever a coordinate is not 0.

    Raises:
        ValueError: shapes do not fit the model, nobody is present in a sample, or it is too long.
    """
    frame_mask, lengths = check_inputs(config, keypoints, frame_mask)
    keypoints = keypoints.masked_fill(~frame_mask[..., None, None], 0).float()
    if config.resize:
        starts, targets = torch.zeros_like(lengths), torch.full_like(lengths, config.num_frames)
        frames, frame_mask = resize_part(keypoints, frame_mask, starts, lengths, targets, config.num_frames)
    else:
        if not torch.compiler.is_compiling() and lengths.max() > config.num_frames:
            raise ValueError(
                f"sample {int(lengths.argmax())} of the batch has {int(lengths.max())} frames, but with resize=False the model has "
                f"places for num_frames={config.num_frames}. Cut it, or let the model resize sequences with resize=True."
            )
        # What is cut off are frames without anybody.
        frames = nn.functional.pad(keypoints, (0, 0, 0, 0, 0, config.num_frames))[:, :, : config.num_frames]
        frame_mask = nn.functional.pad(frame_mask, (0, config.num_frames))[:, :, : config.num_frames]
    values = cut_segments(config, frames)
    step_mask = frame_mask.unflatten(2, (-1, config.segment_length)).any(dim=3)
    found = (values != 0).any(dim=-1)
    mask = step_mask[..., None] & (found | ~found.any(dim=-1, keepdim=True))
    return SegmentTokens(
        frames, frame_mask, values, mask if config.ignore_absent_person else torch.ones_like(mask), step_mask
    )


def normalise_values(values: torch.Tensor) -> torch.Tensor:
    """Values of every token minus their mean, divided by their (unbiased) deviation."""
    return (values - values.mean(dim=-1, keepdim=True)) / (values.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def token_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the values of the tokens of all processes that `mask` chooses, see [`mean_over_processes`]."""
    return (values * mask).sum() / mean_over_processes(mask.sum()).clamp(min=1)


def to_rows(tokens: torch.Tensor, attention: str) -> torch.Tensor:
    """`(batch, persons, segments, joints, ...)` -> `(rows, tokens, ...)`, the tokens of a row attend to each other."""
    if attention == "joint":
        return tokens.flatten(2, 3).flatten(0, 1)  # (B, M, S, V) -> (B * M, S * V)
    if attention == "temporal":
        tokens = tokens.transpose(2, 3)  # (B, M, S, V) -> (B, M, V, S)
    return tokens.flatten(0, 2)


def from_rows(rows: torch.Tensor, attention: str, shape: torch.Size) -> torch.Tensor:
    """The inverse of [`to_rows`]; `shape` begins with (batch, persons, segments, joints)."""
    batch, persons, segments, joints = shape[:4]
    if attention == "temporal":
        return rows.view(batch, persons, joints, segments, *rows.shape[2:]).transpose(2, 3)
    return rows.view(batch, persons, segments, joints, *rows.shape[2:])


class TokenPacking:
    """Rows of tokens without those that do not count: the others of every row at its front, in their order.

    Rows without a token are left out, and what is left is as wide as the row with the most.

    Args:
        mask: bool `(rows, tokens)`, tokens that count.
    """

    def __init__(self, mask: torch.Tensor):
        self.all_mask = mask
        self.places: torch.Tensor | None = None
        # Bool (packed rows, packed tokens), or None where every place is taken.
        self.mask: torch.Tensor | None = None
        if torch.compiler.is_compiling():  # shapes must not depend on the data: everything is computed, with a mask
            self.mask = mask | ~mask.any(dim=1, keepdim=True)
            return
        counts = mask.sum(dim=1)
        least, width = (int(count) for count in torch.stack([counts.min(), counts.max()]).tolist())
        if least == mask.shape[1]:
            return
        kept = torch.nonzero(counts)[:, 0]
        order = (~mask[kept]).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        self.places = kept[:, None] * mask.shape[1] + order
        taken = torch.arange(width, device=mask.device) < counts[kept, None]
        self.mask = None if bool(taken.all()) else taken

    def pack(self, rows: torch.Tensor) -> torch.Tensor:
        """`(rows, tokens, ...)` -> `(packed rows, packed tokens, ...)`."""
        return rows if self.places is None else rows.flatten(0, 1)[self.places]

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """`(packed rows, packed tokens, ...)` -> `(rows, tokens, ...)`, 0 for tokens that do not count."""
        rows = packed
        if self.places is not None:
            shape = (*self.all_mask.shape, *packed.shape[2:])
            flat = packed.new_zeros(shape).flatten(0, 1)
            # The places are all different, also those of tokens that only fill a row up.
            rows = flat.index_copy(0, self.places.flatten(), packed.flatten(0, 1)).view(shape)
        if self.mask is None:
            return rows
        return rows.masked_fill(~self.all_mask.view(*self.all_mask.shape, *[1] * (rows.ndim - 2)), 0)


# ---------------------------------------------------------------------------------------------------------------------
# Layers


class SegmentAttention(nn.Module):
    """Multi-head self-attention with biases."""

    def __init__(self, config: SegmentTransformerConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.scaling = (config.hidden_size // config.num_attention_heads) ** -0.5
        self.is_causal = False
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, attention_mask: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(rows, tokens, hidden_size)` -> the same, and with eager attention the weights `(rows, heads, tokens, tokens)`."""
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        # (rows, tokens, 3 * heads * head_size) -> 3 x (rows, heads, tokens, head_size)
        query, key, value = (
            states.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for states in self.query_key_value(hidden_states).chunk(3, dim=-1)
        )
        context, weights = backward_in_float32(attend)(
            self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling
        )
        return self.output(context.flatten(2)), weights


class DropPath(nn.Dropout):
    """Stochastic depth: drops whole rows of a residual branch in training, and scales up the others."""

    def forward(self, change: torch.Tensor) -> torch.Tensor:
        """`(rows, tokens, hidden_size)` -> the same."""
        if not self.training or not self.p:
            return change
        return change * (change.new_empty(len(change), 1, 1).bernoulli_(1 - self.p) / (1 - self.p))


class SegmentLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer, with stochastic depth.

    Args:
        config: sizes.
        drop_path_rate: chance that a row passes over a half of the layer, in training.
    """

    def __init__(self, config: SegmentTransformerConfig, drop_path_rate: float = 0.0):
        super().__init__()
        size = config.hidden_size
        self.layernorm_attention = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.attention = SegmentAttention(config)
        self.layernorm_output = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(size, config.intermediate_size)
        self.activation = nn.GELU()
        self.output = nn.Linear(config.intermediate_size, size)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, hidden_states: torch.Tensor, attention_mask: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(rows, tokens, hidden_size)` -> the same, and the attention weights."""
        attended, weights = self.attention(self.layernorm_attention(hidden_states), attention_mask)
        hidden_states = hidden_states + self.drop_path(attended)
        intermediate = self.activation(self.intermediate(self.layernorm_output(hidden_states)))
        return hidden_states + self.drop_path(self.output(intermediate)), weights


class SegmentPositions(nn.Module):
    """What is added to a token to tell its joint and its segment."""

    def __init__(self, config: SegmentTransformerConfig):
        super().__init__()
        self.joint_embeddings = nn.Parameter(torch.zeros(config.num_joints, config.hidden_size))
        self.segment_embeddings = nn.Parameter(torch.zeros(config.num_segments, config.hidden_size))

    def forward(self) -> torch.Tensor:
        """`(segments, joints, hidden_size)`."""
        return self.segment_embeddings[:, None] + self.joint_embeddings


class SegmentProjection(nn.Linear):
    """The values of a token to its embedding: a convolution over one segment of one joint."""


class SegmentEmbeddings(nn.Module):
    """Values of tokens to tokens."""

    def __init__(self, config: SegmentTransformerConfig):
        super().__init__()
        self.projection = SegmentProjection(config.segment_size, config.hidden_size)
        self.positions = SegmentPositions(config)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`(batch, persons, segments, joints, segment_size)` -> `(batch, persons, segments, joints, hidden_size)`."""
        return self.projection(values.to(self.projection.weight.dtype)) + self.positions()


def run_layers(
    config: SegmentTransformerConfig,
    layers: nn.ModuleList,
    norm: nn.LayerNorm,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    record: LayerRecord | None = None,
) -> torch.Tensor:
    """Runs tokens through layers and a norm, those that count only.

    Args:
        config: kind and implementation of the attention.
        layers: of [`SegmentLayer`].
        norm: applied to what the last layer gives.
        tokens: `(batch, persons, segments, joints, hidden_size)`.
        mask: bool `(batch, persons, segments, joints)`, tokens that count.
        record: collects the states of the layers, as wide as `tokens`.

    Returns:
        like `tokens`, 0 for tokens that do not count.
    """

    def unpack(states: torch.Tensor) -> torch.Tensor:
        return from_rows(packing.unpack(states), config.attention, tokens.shape)

    packing = TokenPacking(to_rows(mask, config.attention))
    states = packing.pack(to_rows(tokens, config.attention))
    attention_mask = None
    if packing.mask is not None:
        attention_mask = make_attention_mask(config, packing.mask[:, None, None], states.shape[1], states.dtype)
    if record is not None and record.is_needed:
        record.add(unpack(states))
    for layer in layers:
        states, weights = layer(states, attention_mask)
        if record is not None and record.is_needed:
            record.add(unpack(states), weights)
    return unpack(norm(states))


class SegmentDecoder(nn.Module):
    """From the tokens of an encoder, some of which were masked, to something of every token.

    Args:
        config: sizes; the decoder is as wide as the encoder and attends in the same way.
        output_size: width of what comes out.
    """

    def __init__(self, config: SegmentTransformerConfig, output_size: int):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.mask_token = nn.Parameter(torch.zeros(config.hidden_size))
        self.positions = SegmentPositions(config)
        self.layers = nn.ModuleList([SegmentLayer(config) for _ in range(config.num_decoder_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.output = nn.Linear(config.hidden_size, output_size)

    def forward(self, tokens: torch.Tensor, visible: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Decodes a batch.

        Args:
            tokens: `(batch, persons, segments, joints, hidden_size)`, what the encoder made of the visible tokens.
            visible: bool `(batch, persons, segments, joints)`; in the other places stands the mask token.
            mask: bool, the same shape, tokens that count, visible or not.

        Returns:
            `(batch, persons, segments, joints, output_size)`; what it holds for tokens that do not count means nothing.
        """
        states = self.dense(tokens)
        states = torch.where(visible[..., None], states, self.mask_token.to(states.dtype)) + self.positions()
        return self.output(run_layers(self.config, self.layers, self.layernorm, states, mask))


# ---------------------------------------------------------------------------------------------------------------------
# Masking


def choose_visible(
    config: SegmentTransformerConfig, values: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Which tokens pre-training leaves visible: an exact share of every attention row, at least one.

    With `motion_temperature` above 0 tokens that move are masked more often (MAMP, Sec. 3.3): masked are those with the highest
    Gumbel noise plus logarithm of [`masking_probabilities`].

    Args:
        config: share, temperature, and what an attention row is.
        values: float32 `(batch, persons, segments, joints, segment_size)`.
        mask: bool `(batch, persons, segments, joints)`, tokens that count.
        noise: float32, the same shape, uniform in [0, 1).

    Returns:
        bool `(batch, persons, segments, joints)`.
    """
    rows, shape = to_rows(mask, config.attention), mask.shape
    scores = to_rows(-torch.log(-torch.log(noise + 1e-10) + 1e-10), config.attention)
    if config.motion_temperature:
        scores = scores + masking_probabilities(config, values, mask).clamp(min=1e-30).log()
    rank = scores.masked_fill(~rows, float("inf")).argsort(dim=1, stable=True).argsort(dim=1)
    # In float64 and rounded down, as in the released code: of 750 tokens at a share of 0.9, 74 are visible.
    count = (rows.sum(dim=1).double() * (1 - config.masked_share)).long().clamp(min=1)
    return from_rows((rank < count[:, None]) & rows, config.attention, shape)


def masking_probabilities(config: SegmentTransformerConfig, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """How likely each token of an attention row is to be masked first (MAMP, Sec. 3.3).

    The motion of a token is its mean absolute difference from the same joint in the segment before; the first segment has that of
    the second. A token without such a neighbour has none.

    Args:
        config: temperature and what an attention row is.
        values: float32 `(batch, persons, segments, joints, segment_size)`.
        mask: bool `(batch, persons, segments, joints)`, tokens that count.

    Returns:
        float32 `(rows, tokens)`; the rows of tokens that count sum up to 1.
    """
    motion = torch.zeros_like(values[..., 0])
    if values.shape[2] > 1:
        moved = (values[:, :, 1:] - values[:, :, :-1]).abs().mean(dim=-1) * (mask[:, :, 1:] & mask[:, :, :-1])
        motion = torch.cat([moved[:, :, :1], moved], dim=2)
    motion = to_rows(motion, config.attention)
    motion = motion / (motion.amax(dim=1, keepdim=True) * config.motion_temperature + 1e-10)
    rows = to_rows(mask, config.attention)
    rows = rows | ~rows.any(dim=1, keepdim=True)  # a row without tokens is not looked at, but must hold numbers
    return motion.masked_fill(~rows, float("-inf")).softmax(dim=1)


# ---------------------------------------------------------------------------------------------------------------------
# Models


class SegmentPreTrainedModel(CheckedLoading, PreTrainedModel):
    """Initialisation, loading and saving; a family names its configuration and its `base_model_prefix`."""

    config: Any
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["SegmentLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    # Flash attention takes no mask of tokens.
    _supports_flash_attn = False
    _supports_attention_backend = True
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the released code of MAMP; the projection of the input, a convolution there, starts as torch has it."""
        if isinstance(module, SegmentProjection):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, SegmentProbe):
            init.trunc_normal_(module.weight, std=0.01)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm1d):
            super()._init_weights(module)
        elif isinstance(module, SegmentPositions):
            init.trunc_normal_(module.joint_embeddings, std=0.02)
            init.trunc_normal_(module.segment_embeddings, std=0.02)
        elif isinstance(module, SegmentDecoder):
            init.trunc_normal_(module.mask_token, std=0.02)


class SegmentEncoder(WindowedFrameFeatures):
    """The encoder; put it in front of the base class of a family."""

    config: SegmentTransformerConfig

    def __init__(self, config: SegmentTransformerConfig):
        super().__init__(config)  # type: ignore[call-arg]  # the next class is the family's PreTrainedModel
        self.embeddings = SegmentEmbeddings(config)
        step = config.drop_path_rate / max(1, config.num_layers - 1)
        self.layers = nn.ModuleList([SegmentLayer(config, number * step) for number in range(config.num_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()  # type: ignore[attr-defined]

    @property
    def resizes_sequences(self) -> bool:  # type: ignore[override]
        """See [`WindowedFrameFeatures`]."""
        return self.config.resize

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SegmentModelOutput:
        """Encodes a batch.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`; what it holds where `frame_mask` is False does
                not matter.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there; None means wherever any
                coordinate is not 0.
            output_hidden_states: also return the states of all layers.
            output_attentions: also return the attention weights; needs `attn_implementation="eager"`.

        Raises:
            ValueError: shapes do not fit the model, nobody is present in a sample, or it is too long.
        """
        record = LayerRecord.make(self.config, output_hidden_states, output_attentions)
        tokens = make_tokens(self.config, keypoints, frame_mask)
        states = self.encode(tokens.values, tokens.mask, record)
        count = tokens.mask.sum(dim=3).clamp(min=1)[..., None]  # (batch, persons, segments, 1)
        steps = (states.sum(dim=3) / count).to(states.dtype)
        total = tokens.mask.flatten(1).sum(dim=1).clamp(min=1)[:, None]  # (batch, 1)
        return SegmentModelOutput(
            last_hidden_state=steps * tokens.step_mask[..., None],
            pooler_output=(states.flatten(1, 3).sum(dim=1) / total).to(states.dtype),
            step_mask=tokens.step_mask,
            token_hidden_state=states,
            token_mask=tokens.mask,
            **record.as_fields(),
        )

    def encode(self, values: torch.Tensor, mask: torch.Tensor, record: LayerRecord | None = None) -> torch.Tensor:
        """Tokens from their values.

        Args:
            values: float32 `(batch, persons, segments, joints, segment_size)`.
            mask: bool `(batch, persons, segments, joints)`, tokens to encode; the others are neither computed nor seen.
            record: collects the states of the layers.

        Returns:
            `(batch, persons, segments, joints, hidden_size)`, 0 for the others.
        """
        return run_layers(self.config, self.layers, self.layernorm, self.embeddings(values), mask, record)


class SegmentProbe(nn.Linear):
    """The linear map of linear evaluation, which starts small."""


class SegmentClassifier(nn.Module):
    """Classifier on tokens (MAMP, released code).

    `"mlp"`, for fine-tuning: mean over time of every joint, the joints side by side, mean over persons, one hidden layer with batch
    normalisation. `"linear"`, for linear evaluation: mean over all tokens, batch normalisation without parameters, a linear map.
    """

    def __init__(self, config: SegmentTransformerConfig):
        super().__init__()
        self.dense: nn.Linear | None = None
        if config.classifier == "mlp":
            width = config.classifier_hidden_size
            self.dropout = nn.Dropout(config.classifier_dropout)
            self.dense = nn.Linear(config.num_joints * config.hidden_size, width)
            self.norm = nn.BatchNorm1d(width)
            self.output = nn.Linear(width, config.num_labels)
        else:
            self.norm = nn.BatchNorm1d(config.hidden_size, eps=1e-6, affine=False)
            self.output = SegmentProbe(config.hidden_size, config.num_labels)

    def forward(self, outputs: SegmentModelOutput) -> torch.Tensor:
        """Scores `(batch, num_labels)` from what the encoder returns."""
        tokens, mask = outputs.token_hidden_state, outputs.token_mask
        assert tokens is not None and mask is not None and outputs.pooler_output is not None
        if self.dense is None:
            return self.output(self.normalise(outputs.pooler_output))
        count = mask.sum(dim=2).clamp(min=1)[..., None]  # (batch, persons, joints, 1)
        joints = self.dropout(tokens).sum(dim=2) / count  # (batch, persons, joints, hidden_size)
        persons = mask.flatten(2).any(dim=2).sum(dim=1).clamp(min=1)[:, None]  # (batch, 1)
        pooled = (joints.flatten(2).sum(dim=1) / persons).to(tokens.dtype)
        return self.output(nn.functional.relu(self.normalise(self.dense(pooled))))

    def normalise(self, features: torch.Tensor) -> torch.Tensor:
        """Batch normalisation; a batch of one, which has no deviation, by the statistics of those before it."""
        norm = self.norm
        if not self.training or len(features) > 1:
            return norm(features)
        return nn.functional.batch_norm(
            features, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )


class SegmentRecognitionHead(ActionRecognitionHead):
    """Action recognition with one of the two classifiers of MAMP."""

    def make_classifier(self, config: Any) -> nn.Module:
        """See [`ActionRecognitionHead`]."""
        return SegmentClassifier(config)

    def classify(self, outputs: Any) -> torch.Tensor:
        """See [`ActionRecognitionHead`]."""
        return self.classifier(outputs)


__all__ = [
    "SegmentClassifier",
    "SegmentDecoder",
    "SegmentEmbeddings",
    "SegmentEncoder",
    "SegmentLayer",
    "SegmentModelOutput",
    "SegmentPreTrainedModel",
    "SegmentRecognitionHead",
    "SegmentTokens",
    "TokenPacking",
    "choose_visible",
    "cut_segments",
    "from_rows",
    "make_tokens",
    "masking_probabilities",
    "normalise_values",
    "run_layers",
    "to_rows",
    "token_mean",
]
