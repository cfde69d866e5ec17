"""Hi-TRS (Chen et al., "Hierarchically Self-Supervised Transformer for Human Skeleton Representation Learning", ECCV 2022).

Three transformers on top of each other: F-TRS sees the joints of one frame, C-TRS the joints of the frames of one clip, V-TRS
the clips of a sequence. From bottom to top:

    keypoints (batch, persons, frames, joints, channels)
      -> real frames, packed  (rows, joints, channels)          row 0 is the zero frame: borders of clips, absences
      -> F-TRS                (rows, joints, hidden_sizes[0])
      -> gathered into clips  (clips, clip_length * joints + 1, hidden_sizes[1])
      -> C-TRS                (clips, hidden_sizes[1])           only clips in which somebody is seen
      -> tracks               (tracks, longest + 1, hidden_sizes[2])   one per person
      -> V-TRS                (tracks, hidden_sizes[2])
      -> mean over persons    (batch, hidden_sizes[2])

Everything that padding or an absent person would occupy is left out of the computation by the packing, so results do not depend
on it. Index tables say where a result belongs: entry 0 means "nothing there".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple

from ...data.pretraining_collators import HiTRSPreTrainingCollator
from ...modeling_attention import LayerRecord, backward_in_float32, eager_attention_forward, make_attention_mask
from ...modeling_inputs import check_inputs, check_shapes, is_exporting, pack, packed_rows
from ...modeling_loading import CheckedLoading
from ...modeling_outputs import SkeletonModelOutput, SkeletonPreTrainingOutput
from ...modeling_pretraining import PreTrainingObjective
from ...modeling_tasks import ActionDetectionHead, ActionRecognitionHead, MotionPredictionHead
from ...objectives.info_nce import info_nce
from .configuration_hitrs import HiTRSConfig


FRAME, CLIP, VIDEO = 0, 1, 2  # positions in hidden_sizes and intermediate_sizes


@dataclass
class HiTRSModelOutput(SkeletonModelOutput):
    """Output of [`HiTRSModel`]; a step is a clip.

    Args:
        last_hidden_state: `(batch, persons, clips, hidden_sizes[2])`, output of V-TRS for every clip.
        pooler_output: `(batch, hidden_sizes[2])`, mean of `video_hidden_state` over persons.
        step_mask: bool `(batch, persons, clips)`, clips that V-TRS saw.
        hidden_states: with `output_hidden_states=True`, for F-TRS, then C-TRS, then V-TRS the embeddings and the output of
            every layer, packed as they are computed: `(1 + present frames, joints, hidden_sizes[0])` with the zero frame in
            row 0, `(clips, clip_length * joints + 1, hidden_sizes[1])` and `(tracks, clips + 1, hidden_sizes[2])`. Where a
            level has a class token, it is the last one.
        attentions: with `output_attentions=True` (eager attention only), the weights of every layer in the same order,
            `(rows, heads, tokens, tokens)`.
        person_mask: bool `(batch, persons)`, persons who are present.
        frame_hidden_state: `(batch, persons, frames, joints, hidden_sizes[0])`, output of F-TRS, 0 in absent frames; only
            with `output_hidden_states=True`, for it is large.
        clip_hidden_state: `(batch, persons, clips, hidden_sizes[1])`, output of C-TRS, 0 where `step_mask` is False.
        video_hidden_state: `(batch, persons, hidden_sizes[2])`, output of V-TRS for every person.
    """

    person_mask: torch.Tensor | None = None
    frame_hidden_state: torch.Tensor | None = None
    clip_hidden_state: torch.Tensor | None = None
    video_hidden_state: torch.Tensor | None = None


@dataclass
class HiTRSForPreTrainingOutput(SkeletonPreTrainingOutput):
    """Output of [`HiTRSForPreTraining`]. Only `loss` has a gradient; what a task with weight 0 would give is None.

    Args:
        loss: weighted sum of the four losses.
        spatial_loss: masked-joint prediction.
        clip_order_loss: are the frames of a clip in order? 0 if no sample of the batch has a clip with motion.
        video_order_loss: are the clips of the sequence in order?
        next_clip_loss: which is the last clip of the sequence?
        spatial_error: mean distance of predicted and true joint, in the unit of the keypoints.
        clip_order_accuracy: share of right answers.
        video_order_accuracy: share of right answers.
        next_clip_accuracy: share of right answers among all sequences of the batch (of all processes).
    """

    spatial_loss: torch.Tensor | None = None
    clip_order_loss: torch.Tensor | None = None
    video_order_loss: torch.Tensor | None = None
    next_clip_loss: torch.Tensor | None = None
    spatial_error: torch.Tensor | None = None
    clip_order_accuracy: torch.Tensor | None = None
    video_order_accuracy: torch.Tensor | None = None
    next_clip_accuracy: torch.Tensor | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Transformer layer, the same on all levels


class HiTRSAttention(nn.Module):
    """Multi-head self-attention without biases; its width does not depend on the level (paper, Eq. 1)."""

    def __init__(self, config: HiTRSConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_size = config.attention_head_size
        self.scaling = self.head_size**-0.5
        self.is_causal = False
        width = self.num_heads * self.head_size
        self.query = nn.Linear(hidden_size, width, bias=False)
        self.key = nn.Linear(hidden_size, width, bias=False)
        self.value = nn.Linear(hidden_size, width, bias=False)
        self.output = nn.Linear(width, hidden_size, bias=False)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: Any = None, last_token_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attends.

        Args:
            hidden_states: `(rows, tokens, hidden_size)`.
            attention_mask: result of [`make_attention_mask`], or None if everything is allowed.
            last_token_only: compute the result of the last token alone; `attention_mask` must then be None.

        Returns:
            `(rows, tokens or 1, hidden_size)` and, with eager attention, the weights `(rows, heads, tokens, tokens)`.
        """
        if last_token_only and type(self.key) is nn.Linear and type(self.value) is nn.Linear:
            return self.output(self.attend_with_last_token(hidden_states)), None
        queries = hidden_states[:, -1:] if last_token_only else hidden_states
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        context, weights = backward_in_float32(attend)(
            self,
            self.split_heads(self.query(queries)),
            self.split_heads(self.key(hidden_states)),
            self.split_heads(self.value(hidden_states)),
            attention_mask,
            dropout=0.0,
            scaling=self.scaling,
        )
        return self.output(context.flatten(2)), weights  # (rows, tokens, heads, head_size) -> (rows, tokens, width)

    def attend_with_last_token(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Attention of one query without ever making the keys and values of all tokens.

        `q . (x Wk) = (q Wk^T) . x` and `sum_j a_j (x_j Wv) = (sum_j a_j x_j) Wv`: with one query both products are far
        cheaper in the second form. Only for plain linear layers: an adapter or a quantised layer has no such weight.

        Returns:
            `(rows, 1, heads * head_size)`.
        """
        query = self.split_heads(self.query(hidden_states[:, -1:])).squeeze(2)  # (rows, heads, head_size)
        key_weight = self.key.weight.view(self.num_heads, self.head_size, -1)
        value_weight = self.value.weight.view(self.num_heads, self.head_size, -1)
        folded_query = torch.einsum("nhe,hed->nhd", query, key_weight)
        logits = torch.matmul(folded_query, hidden_states.transpose(1, 2)) * self.scaling  # (rows, heads, tokens)
        weights = nn.functional.softmax(logits, dim=-1, dtype=torch.float32).to(hidden_states.dtype)
        context = torch.matmul(weights, hidden_states)  # (rows, heads, hidden_size)
        return torch.einsum("nhd,hed->nhe", context, value_weight).flatten(1)[:, None]

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """`(rows, tokens, heads * head_size)` -> `(rows, heads, tokens, head_size)`."""
        return states.unflatten(-1, (self.num_heads, self.head_size)).transpose(1, 2)


class HiTRSLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer: attention, then a feed-forward network, each a residual branch (paper, Eq. 1-3)."""

    def __init__(self, config: HiTRSConfig, level: int):
        super().__init__()
        hidden_size, intermediate_size = config.hidden_sizes[level], config.intermediate_sizes[level]
        self.layernorm_before = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.attention = HiTRSAttention(config, hidden_size)
        self.layernorm_after = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.intermediate = nn.Linear(hidden_size, intermediate_size)
        self.activation = nn.GELU()
        self.output = nn.Linear(intermediate_size, hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: Any = None, last_token_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`(rows, tokens, hidden_size)` -> the same, or `(rows, 1, hidden_size)` with `last_token_only`; and weights."""
        attended, weights = self.attention(self.layernorm_before(hidden_states), attention_mask, last_token_only)
        if last_token_only:
            hidden_states = hidden_states[:, -1:]
        hidden_states = hidden_states + self.dropout(attended)
        intermediate = self.activation(self.intermediate(self.layernorm_after(hidden_states)))
        return hidden_states + self.dropout(self.output(intermediate)), weights


class HiTRSEncoder(nn.Module):
    """Embeddings and a stack of layers; the three levels differ in their embeddings and masks."""

    # Rows are computed in pieces whose hidden states have about so many elements. On a CPU those of inference stay in the
    # caches of a core, and those of training, which keeps what it computes, in memory that the allocator does not give
    # back; pieces on an accelerator bound the memory of inference. Results do not depend on it.
    chunk_elements = 2**19
    training_factor = 4
    accelerator_factor = 256

    def __init__(self, config: HiTRSConfig, level: int):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList([HiTRSLayer(config, level) for _ in range(config.num_layers)])

    def run_layers(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Any = None,
        last_token_only: bool = False,
        record: LayerRecord | None = None,
    ) -> torch.Tensor:
        """Runs the stack; with `last_token_only` the last layer computes the last token alone (unless recorded)."""
        record = record or LayerRecord()
        record.add(hidden_states)
        for number, layer in enumerate(self.layers, start=1):
            only_last = last_token_only and number == len(self.layers) and not record.is_needed
            hidden_states, weights = layer(hidden_states, None if only_last else attention_mask, only_last)
            record.add(hidden_states, weights)
        return hidden_states

    def in_chunks(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        rows: torch.Tensor,
        row_elements: int,
        record: LayerRecord,
    ) -> torch.Tensor:
        """`function(rows)` piece by piece, where each of the rows has `row_elements` elements in its hidden states."""
        on_cpu = rows.device.type == "cpu"
        factor = (self.training_factor if torch.is_grad_enabled() else 1) if on_cpu else self.accelerator_factor
        size = max(1, self.chunk_elements * factor // row_elements)
        in_one_piece = record.is_needed or torch.compiler.is_compiling() or (self.training and not on_cpu)
        if in_one_piece or len(rows) <= size:
            return function(rows)
        return torch.cat([function(chunk) for chunk in rows.split(size)])


# ---------------------------------------------------------------------------------------------------------------------
# The three levels


class HiTRSFrameEmbeddings(nn.Module):
    """Joint coordinates to joint tokens, plus one position embedding per joint."""

    def __init__(self, config: HiTRSConfig):
        super().__init__()
        hidden_size = config.hidden_sizes[FRAME]
        self.projection = nn.Linear(config.num_channels, hidden_size)
        self.activation = nn.GELU()
        self.layer_norm: nn.Module = nn.Identity()
        if config.embedding_layer_norm:
            self.layer_norm = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.position_embeddings = nn.Parameter(torch.zeros(config.num_joints, hidden_size))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """`(rows, joints, channels)` -> `(rows, joints, hidden_sizes[0])`."""
        return self.layer_norm(self.activation(self.projection(frames))) + self.position_embeddings

    def initial_positions(self) -> torch.Tensor:
        """The sin/cos table of the joints."""
        return sincos_table(*self.position_embeddings.shape)


class HiTRSFrameEncoder(HiTRSEncoder):
    """F-TRS: attention among the joints of one frame."""

    def __init__(self, config: HiTRSConfig):
        super().__init__(config, FRAME)
        self.embeddings = HiTRSFrameEmbeddings(config)

    def forward(self, frames: torch.Tensor, record: LayerRecord | None = None) -> torch.Tensor:
        """Encodes frames independently of each other.

        Args:
            frames: `(rows, joints, channels)`.
            record: collects the states of the layers.

        Returns:
            `(rows, joints, hidden_sizes[0])`.
        """
        record = record or LayerRecord()

        def encode(part: torch.Tensor) -> torch.Tensor:
            return self.run_layers(self.embeddings(part), record=record)

        return self.in_chunks(encode, frames, self.embeddings.position_embeddings.numel(), record)


class HiTRSClipEmbeddings(nn.Module):
    """Joint features of the frames of a clip to tokens, plus position embeddings and the class token at the end."""

    def __init__(self, config: HiTRSConfig):
        super().__init__()
        hidden_size = config.hidden_sizes[CLIP]
        self.projection = nn.Linear(config.hidden_sizes[FRAME], hidden_size)
        self.position_embeddings = nn.Parameter(torch.zeros(config.clip_length, config.num_joints, hidden_size))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))

    def forward(self, projected_frames: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
        """Gathers frames into clips.

        Args:
            projected_frames: `(rows, joints, hidden_sizes[1])`, behind `projection`, which each frame passes once however
                many clips it is part of.
            clips: int64 `(clips, clip_length)`, rows of `projected_frames`.

        Returns:
            `(clips, clip_length * joints + 1, hidden_sizes[1])`, frame after frame, class token last.
        """
        tokens = take_rows(projected_frames, clips) + self.position_embeddings  # (clips, clip_length, joints, hidden)
        return torch.cat([tokens.flatten(1, 2), self.cls_token.expand(clips.shape[0], -1, -1)], dim=1)

    def initial_positions(self) -> torch.Tensor:
        """The 2-D sin/cos table: the joint in the first half of the channels, the frame in the second."""
        clip_length, num_joints, hidden_size = self.position_embeddings.shape
        joints = sincos_table(num_joints, hidden_size // 2)[None].expand(clip_length, -1, -1)
        frames = sincos_table(clip_length, hidden_size // 2)[:, None].expand(-1, num_joints, -1)
        return torch.cat([joints, frames], dim=-1)


class HiTRSClipEncoder(HiTRSEncoder):
    """C-TRS: attention among the joints of different frames of one clip (paper, Eq. 4)."""

    def __init__(self, config: HiTRSConfig):
        super().__init__(config, CLIP)
        self.embeddings = HiTRSClipEmbeddings(config)

    def forward(
        self, frame_features: torch.Tensor, clips: torch.Tensor, record: LayerRecord | None = None
    ) -> torch.Tensor:
        """Encodes clips.

        Args:
            frame_features: `(rows, joints, hidden_sizes[0])`, output of F-TRS.
            clips: int64 `(clips, clip_length)`, rows of `frame_features`.
            record: collects the states of the layers.

        Returns:
            `(clips, hidden_sizes[1])`, output of the class token.
        """
        record = record or LayerRecord()
        projected = self.embeddings.projection(frame_features)
        allowed = self.allowed_pairs(projected.device)
        mask = make_attention_mask(self.config, allowed[None, None], len(allowed), projected.dtype)

        def encode(part: torch.Tensor) -> torch.Tensor:
            return self.run_layers(self.embeddings(projected, part), mask, last_token_only=True, record=record)[:, -1]

        return self.in_chunks(encode, clips, len(allowed) * projected.shape[-1], record)

    def allowed_pairs(self, device: torch.device | None = None) -> torch.Tensor:
        """bool `(tokens, tokens)`: a joint attends to the joints of other frames, to itself, and to the class token.

        Paper Eq. 4 masks all joints of the own frame, the released code all but the joint itself (`config.mask_self`).
        """
        num_tokens = self.config.clip_length * self.config.num_joints + 1
        token = torch.arange(num_tokens, device=device)
        frame = token // self.config.num_joints  # the class token is alone in the "frame" behind the last one
        allowed = frame[:, None] != frame[None, :]
        itself = token[:, None] == token[None, :]
        is_class_token = token == num_tokens - 1
        return allowed | (itself & is_class_token) if self.config.mask_self else allowed | itself


class HiTRSVideoEmbeddings(nn.Module):
    """Clip features to tokens, plus position embeddings and the class token at the end."""

    def __init__(self, config: HiTRSConfig):
        super().__init__()
        hidden_size = config.hidden_sizes[VIDEO]
        self.projection = nn.Linear(config.hidden_sizes[CLIP], hidden_size)
        self.position_embeddings = nn.Parameter(torch.zeros(config.max_clips, hidden_size))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))

    def forward(self, clip_features: torch.Tensor) -> torch.Tensor:
        """`(tracks, clips, hidden_sizes[1])` -> `(tracks, clips + 1, hidden_sizes[2])`."""
        tokens = self.projection(clip_features) + self.position_embeddings[: clip_features.shape[1]]
        return torch.cat([tokens, self.cls_token.expand(tokens.shape[0], -1, -1)], dim=1)

    def initial_positions(self) -> torch.Tensor:
        """The sin/cos table of the clips."""
        return sincos_table(*self.position_embeddings.shape)


class HiTRSVideoEncoder(HiTRSEncoder):
    """V-TRS: attention among the clips of a sequence."""

    def __init__(self, config: HiTRSConfig):
        super().__init__(config, VIDEO)
        self.embeddings = HiTRSVideoEmbeddings(config)

    def forward(
        self, clip_features: torch.Tensor, clip_mask: torch.Tensor, record: LayerRecord | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encodes tracks.

        Args:
            clip_features: `(tracks, clips, hidden_sizes[1])`, output of C-TRS.
            clip_mask: bool `(tracks, clips)`, clips to attend to.
            record: collects the states of the layers.

        Returns:
            `(tracks, clips, hidden_sizes[2])` and, for the class token, `(tracks, hidden_sizes[2])`.
        """
        tokens = self.embeddings(clip_features)
        # Everybody may attend to the class token, so no row of the softmax is empty.
        allowed = nn.functional.pad(clip_mask, (0, 1), value=True)[:, None, None]
        mask = make_attention_mask(self.config, allowed, tokens.shape[1], tokens.dtype)
        states = self.run_layers(tokens, mask, record=record)
        return states[:, :-1], states[:, -1]


def sincos_table(length: int, dim: int) -> torch.Tensor:
    """`(length, dim)`: `sin(p / 10000^(2i / dim))` in channel 2i, the cosine of the same in channel 2i + 1."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    frequency = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = position * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()  # (length, dim / 2, 2) -> (length, dim)


# ---------------------------------------------------------------------------------------------------------------------
# From sequences to frames, clips and tracks. Index arithmetic only, the same for every sample of the batch at once.


def pack_frames(keypoints: torch.Tensor, frame_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames in which a person is present, one after the other, behind one zero frame.

    What `keypoints` hold where the mask is False is never read, so it may be anything.

    Returns:
        `(1 + present frames, joints, channels)`, and int64 `(batch, persons, frames)`: row of each frame, 0 if absent.
    """
    frames = pack(keypoints, frame_mask)
    frames = torch.cat([frames.new_zeros(1, *frames.shape[1:]), frames])
    return frames, packed_rows(frame_mask)


def clip_windows(
    config: HiTRSConfig, num_frames: torch.Tensor, padded_frames: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames of every clip of every sample (the rule of [`skeleton_transformers.data.clips`], for a batch).

    Args:
        config: clip length, stride and dilation.
        num_frames: int64 `(batch,)`.
        padded_frames: length to which the batch is padded; an exported graph makes as many clips as fit into it.

    Returns:
        int64 `(batch, clips, clip_length)`, -1 for a zero frame, with as many clips as the longest sample has; and int64
        `(batch,)`, the number of clips of each sample.

    Raises:
        ValueError: a sample has more clips than the model has video positions.
    """
    padding = config.clip_length // 2 * config.clip_dilation
    first = min(padding + 1, config.clip_stride)

    def count_clips(uncovered: Any) -> Any:
        return 1 + (uncovered + config.clip_stride - 1) // config.clip_stride

    num_clips = count_clips((num_frames - first).clamp(min=0))
    if is_exporting() and padded_frames is not None:
        # Two at least: an axis that may have size 1 would be traced as one that never has.
        longest = torch.sym_max(min(2, config.max_clips), count_clips(torch.sym_max(0, padded_frames - first)))
    else:
        longest = int(num_clips.max())
    if longest > config.max_clips:
        raise ValueError(
            f"a sequence of {int(num_frames.max())} frames has {longest} clips, but the model has positions for "
            f"max_clips={config.max_clips}. Shorten the sequence (max_frames of SkeletonFeatureExtractor, or a lower "
            "frame_rate), or train a model with a larger max_clips."
        )
    starts = torch.arange(longest, device=num_frames.device) * config.clip_stride
    offsets = torch.arange(config.clip_length, device=num_frames.device) * config.clip_dilation
    # A clip that runs past the padded end repeats its last frame (a zero frame unless clips have one frame only).
    padded_end = num_frames + 2 * padding - 1
    frames = torch.minimum(starts[:, None] + offsets, padded_end[:, None, None]) - padding
    inside = (frames >= 0) & (frames < num_frames[:, None, None])
    exists = torch.arange(longest, device=num_frames.device) < num_clips[:, None]
    return torch.where(inside & exists[..., None], frames, -1), num_clips


def take_rows(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """`values[rows]`, with gradients that are the same in every run.

    A row that is taken more than once adds up several gradients. Behind plain indexing CPU threads do that in the order they come,
    so that the last bits differ from run to run; `index_select` adds them in the order of `rows`.

    Args:
        values: `(n, ...)`.
        rows: int64 of any shape.
    """
    return values.index_select(0, rows.flatten()).unflatten(0, rows.shape)


def rows_of_frames(frame_rows: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Rows of chosen frames.

    Args:
        frame_rows: int64 `(batch, persons, frames)` of [`pack_frames`].
        frames: int64 `(batch, ...)`, frame numbers, -1 for a zero frame; the same for all persons of a sample.

    Returns:
        int64 `(batch, persons, ...)`, 0 for a zero frame.
    """
    flat = frames.flatten(1)[:, None].expand(-1, frame_rows.shape[1], -1)
    rows = frame_rows.gather(2, flat.clamp(min=0)) * (flat >= 0)
    return rows.view(*frame_rows.shape[:2], *frames.shape[1:])


# ---------------------------------------------------------------------------------------------------------------------
# Models


class HiTRSPreTrainedModel(CheckedLoading, PreTrainedModel):
    """Initialisation, loading and saving of all Hi-TRS models."""

    config: HiTRSConfig
    base_model_prefix = "hitrs"
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["HiTRSLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    # The mask of a clip is part of the method, and flash attention takes no such mask.
    _supports_flash_attn = False
    _supports_attention_backend = True
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As the released code: torch's own initialisation of linear layers, sin/cos positions, U[0, 1) tokens."""
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            if module.bias is not None:
                bound = module.in_features**-0.5
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (HiTRSFrameEmbeddings, HiTRSClipEmbeddings, HiTRSVideoEmbeddings)):
            if self.config.position_init == "sincos":
                init.copy_(module.position_embeddings, module.initial_positions())
            else:
                init.normal_(module.position_embeddings, std=0.02)
            if hasattr(module, "cls_token"):
                init.uniform_(module.cls_token, 0.0, 1.0)


class HiTRSModel(HiTRSPreTrainedModel):
    """The encoder: sequences of any length, any number of persons, to one vector per clip, person and sample.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiTRSConfig, HiTRSModel

    >>> model = HiTRSModel(HiTRSConfig.from_preset("tiny")).eval()
    >>> keypoints = torch.randn(2, 1, 60, 25, 3)  # (batch, persons, frames, joints, channels)
    >>> frame_mask = torch.ones(2, 1, 60, dtype=torch.bool)
    >>> model(keypoints, frame_mask).pooler_output.shape
    torch.Size([2, 128])
    ```
    """

    def __init__(self, config: HiTRSConfig):
        super().__init__(config)
        self.frame = HiTRSFrameEncoder(config)
        self.clip = HiTRSClipEncoder(config)
        self.video = HiTRSVideoEncoder(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> HiTRSModelOutput:
        """Encodes a batch.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`; what it holds where `frame_mask` is False does
                not matter.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there; None means wherever any
                coordinate is not 0.
            output_hidden_states: also return the states of all layers and `frame_hidden_state`.
            output_attentions: also return the attention weights; needs `attn_implementation="eager"`.

        Raises:
            ValueError: shapes do not fit the model, nobody is present in a sample, or a sequence is too long.
        """
        record = LayerRecord.make(self.config, output_hidden_states, output_attentions)
        frame_mask, num_frames = check_inputs(self.config, keypoints, frame_mask)
        frames, frame_rows = pack_frames(keypoints, frame_mask)
        frame_features = self.frame(frames.to(self.dtype), record)

        windows, num_clips = clip_windows(self.config, num_frames, frame_mask.shape[2])
        clip_features, seen = self.encode_clips(frame_features, rows_of_frames(frame_rows, windows), record)
        person_mask, step_mask = self.masks(frame_mask, seen, num_clips)
        steps, persons = self.encode_tracks(clip_features, step_mask, person_mask, num_clips, record)

        frame_hidden_state = None
        if record.hidden_states is not None:
            frame_hidden_state = take_rows(frame_features, frame_rows) * frame_mask[..., None, None]
        return HiTRSModelOutput(
            last_hidden_state=steps,
            pooler_output=self.pool(persons, person_mask),
            step_mask=step_mask,
            person_mask=person_mask,
            frame_hidden_state=frame_hidden_state,
            clip_hidden_state=clip_features * step_mask[..., None],
            video_hidden_state=persons,
            **record.as_fields(),
        )

    @property
    def frame_context(self) -> int:
        """Frames before and after a frame that its feature depends on."""
        return self.config.clip_length // 2 * self.config.clip_dilation

    def get_frame_features(
        self, keypoints: torch.Tensor, frame_mask: torch.Tensor | None = None, wanted: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Feature of every frame: C-TRS on the clip centred on it, mean over the persons seen in that clip.

        F-TRS encodes each frame once, however many clips it is part of. Beyond the first and the last frame a clip has
        zero frames. Sequences may be of any length: V-TRS and its positions have no part in it.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`; None means wherever any coordinate is not 0.
            wanted: bool `(batch, frames)`, frames whose feature is needed; others come out meaningless. None means all.

        Returns:
            `(batch, frames, hidden_sizes[1])`, 0 where nobody is seen in the clip (but see `ignore_absent_person`).

        Raises:
            ValueError: the shapes do not fit the model.
        """
        config = self.config
        frame_mask = check_shapes(config, keypoints, frame_mask)
        frames, frame_rows = pack_frames(keypoints, frame_mask)
        frame_features = self.frame(frames.to(self.dtype))
        num_frames = frame_mask.shape[2]
        offsets = torch.arange(config.clip_length, device=keypoints.device) * config.clip_dilation - self.frame_context
        windows = torch.arange(num_frames, device=keypoints.device)[:, None] + offsets  # (frames, clip_length)
        windows = torch.where((windows >= 0) & (windows < num_frames), windows, -1)
        windows = windows.expand(len(keypoints), -1, -1)
        if wanted is not None:
            windows = torch.where(wanted[..., None], windows, -1)  # a clip without frames is not computed
        # (batch, persons, frames, hidden_sizes[1]) and (batch, persons, frames)
        features, seen = self.encode_clips(frame_features, rows_of_frames(frame_rows, windows))
        if config.ignore_absent_person:
            return features.sum(dim=1) / seen.sum(dim=1).clamp(min=1)[..., None]
        return features.mean(dim=1)

    def encode_clips(
        self, frame_features: torch.Tensor, clips: torch.Tensor, record: LayerRecord | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """C-TRS on the clips in which somebody is seen, each once.

        Args:
            frame_features: `(rows, joints, hidden_sizes[0])`, row 0 the zero frame.
            clips: int64 `(batch, persons, clips, clip_length)`, rows of `frame_features`.
            record: collects the states of the layers.

        Returns:
            `(batch, persons, clips, hidden_sizes[1])` and bool `(batch, persons, clips)`, True where a frame is present. A
            clip without one has the feature of the clip of zero frames, computed once, or 0 if absent persons are ignored.
        """
        seen = (clips > 0).any(dim=-1)
        packed = pack(clips, seen)  # (clips, clip_length)
        if not self.config.ignore_absent_person or (not is_exporting() and len(packed) == 0):
            packed = nn.functional.pad(packed, (0, 0, 1, 0))  # in front, the clip of zero frames
        features = self.clip(frame_features, packed, record)
        if self.config.ignore_absent_person:
            features = nn.functional.pad(features, (0, 0, 1, 0))
        return take_rows(features, packed_rows(seen)), seen

    def masks(
        self, frame_mask: torch.Tensor, seen: torch.Tensor, num_clips: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which persons count, bool `(batch, persons)`, and which of their clips, bool `(batch, persons, clips)`."""
        if self.config.ignore_absent_person:
            # Between two clips there can be frames that belong to none. Whoever is seen there only does not count, except
            # where there is nobody else.
            in_clip = seen.any(dim=-1)
            in_frame = frame_mask.any(dim=-1)
            return in_clip | (in_frame & ~in_clip.any(dim=1, keepdim=True)), seen
        exists = torch.arange(seen.shape[2], device=seen.device) < num_clips[:, None]
        return frame_mask.any(dim=-1), exists[:, None].expand_as(seen)

    def encode_tracks(
        self,
        clip_features: torch.Tensor,
        step_mask: torch.Tensor,
        person_mask: torch.Tensor,
        num_clips: torch.Tensor,
        record: LayerRecord | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """V-TRS on the tracks of the persons who are present; and if absent ones count, once per length of those.

        Args:
            clip_features: `(batch, persons, clips, hidden_sizes[1])`.
            step_mask: bool `(batch, persons, clips)`.
            person_mask: bool `(batch, persons)`.
            num_clips: int64 `(batch,)`.
            record: collects the states of the layers.

        Returns:
            `(batch, persons, clips, hidden_sizes[2])` and `(batch, persons, hidden_sizes[2])`, 0 where masked.
        """
        present = person_mask.flatten()
        if is_exporting():
            chosen = track = torch.arange(present.shape[0], device=present.device)
        else:
            chosen = present.nonzero().squeeze(1)  # tracks to encode, as positions in batch * persons
            track = (present.cumsum(0) - 1).clamp(min=0)  # (batch * persons,) position in `chosen`
        if not self.config.ignore_absent_person and not is_exporting():
            # The feature of an absent person depends on the number of clips alone.
            absent = (~present).nonzero().squeeze(1)
            clips_of_absent = num_clips.repeat_interleave(person_mask.shape[1])[absent]
            lengths, length_number = torch.unique(clips_of_absent, return_inverse=True)
            example = absent.new_zeros(len(lengths)).scatter_(0, length_number, absent)
            track[absent] = len(chosen) + length_number
            chosen = torch.cat([chosen, example])
        steps, persons = self.video(
            take_rows(clip_features.flatten(0, 1), chosen), step_mask.flatten(0, 1)[chosen], record
        )
        steps = take_rows(steps, track).view(*step_mask.shape, -1) * step_mask[..., None]
        persons = take_rows(persons, track).view(*person_mask.shape, -1)
        if self.config.ignore_absent_person:
            persons = persons * person_mask[..., None]
            steps = steps * person_mask[..., None, None]
        return steps, persons

    def pool(self, persons: torch.Tensor, person_mask: torch.Tensor) -> torch.Tensor:
        """Mean over the persons present, or over all slots: `(batch, persons, dim)` -> `(batch, dim)`."""
        if self.config.ignore_absent_person:
            return persons.sum(dim=1) / person_mask.sum(dim=1, keepdim=True)
        return persons.mean(dim=1)


class HiTRSPreTrainingHeads(nn.Module):
    """One linear layer per pretext task."""

    def __init__(self, config: HiTRSConfig):
        super().__init__()
        frame_size, clip_size, video_size = config.hidden_sizes
        self.coordinate_head = nn.Linear(frame_size, config.num_channels)
        self.clip_order_head = nn.Linear(clip_size, 2)
        self.video_order_head = nn.Linear(video_size, 2)
        self.next_clip_head = nn.Linear(video_size, clip_size)


class HiTRSForPreTraining(PreTrainingObjective, HiTRSPreTrainedModel):
    """The four self-supervised tasks of Hi-TRS (paper, Sec. 3.3), one per level and one across levels.

    All of them share one pass of F-TRS over the corrupted frames, one of C-TRS and one of V-TRS. A task whose weight in the
    configuration is 0 is not computed. The random choices come with the batch, from [`HiTRSPreTrainingCollator`].
    """

    collator_class = HiTRSPreTrainingCollator
    tasks = {
        "spatial_loss_weight": ("spatial_loss", "spatial_error"),
        "clip_order_loss_weight": ("clip_order_loss", "clip_order_accuracy"),
        "video_order_loss_weight": ("video_order_loss", "video_order_accuracy"),
        "next_clip_loss_weight": ("next_clip_loss", "next_clip_accuracy"),
    }

    def __init__(self, config: HiTRSConfig):
        super().__init__(config)
        self.hitrs = HiTRSModel(config)
        self.pretraining = HiTRSPreTrainingHeads(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor,
        target_keypoints: torch.Tensor,
        masked_joints: torch.Tensor,
        order_clip: torch.Tensor,
        swapped_clip: torch.Tensor,
        order_clip_mask: torch.Tensor,
        clip_permutation: torch.Tensor,
    ) -> HiTRSForPreTrainingOutput:
        """Computes the losses of a batch of single-person sequences.

        Args:
            keypoints: float `(batch, 1, frames, joints, channels)`, corrupted sequences.
            frame_mask: bool `(batch, 1, frames)`.
            target_keypoints: float, the sequences before corruption, same shape as `keypoints`.
            masked_joints: bool `(batch, 1, frames, joints)`, joints to predict.
            order_clip: int64 `(batch, clip_length)`, frames of a clip, -1 for a zero frame.
            swapped_clip: int64 `(batch, clip_length)`, the same with two frames exchanged.
            order_clip_mask: bool `(batch,)`, False if the clip does not count.
            clip_permutation: int64 `(batch, clips)`, another order of the clips; the last one of each sequence stays.

        Raises:
            ValueError: shapes do not fit, or a sequence has too few clips for the tasks.
        """
        config = self.config
        if keypoints.ndim == 5 and keypoints.shape[1] != 1:
            raise ValueError(
                f"pre-training takes one person per sequence, got {keypoints.shape[1]}; make every person a sequence of "
                "its own (single_person=True of SkeletonDataset)."
            )
        frame_mask, num_frames = check_inputs(config, keypoints, frame_mask)
        frames, frame_rows = pack_frames(keypoints, frame_mask)
        frame_features = self.hitrs.frame(frames.to(self.dtype))
        losses: list[torch.Tensor] = []  # times their weights
        parts: dict[str, torch.Tensor] = {}

        if config.spatial_loss_weight:
            selected = masked_joints[frame_mask]  # (present frames, joints)
            prediction = self.pretraining.coordinate_head(frame_features[1:][selected])
            loss, error = self.spatial_task(prediction, target_keypoints[frame_mask][selected])
            losses.append(config.spatial_loss_weight * loss)
            parts |= {"spatial_loss": loss.detach(), "spatial_error": error}

        needs_videos = bool(config.video_order_loss_weight or config.next_clip_loss_weight)
        if needs_videos or config.clip_order_loss_weight:
            if config.order_tasks_on_clean_input:
                frame_features = self.hitrs.frame(pack_frames(target_keypoints, frame_mask)[0].to(self.dtype))
            # C-TRS runs once, over the pair of clips and over the clips of the sequences: (batch, 1, 2 + clips, clip_length)
            pair = torch.stack([order_clip, swapped_clip], dim=1)
            pair = torch.where(order_clip_mask[:, None, None], pair, -1)
            if not config.clip_order_loss_weight:
                pair = pair[:, :0]
            windows = pair[:, :0]
            if needs_videos:
                windows, num_clips = clip_windows(config, num_frames)
                self.check_clips(windows, num_clips, clip_permutation)
            if needs_videos and not config.next_clip_loss_weight:
                # Nobody asks for the last clip of a sequence.
                is_last = torch.arange(windows.shape[1], device=windows.device) == num_clips[:, None] - 1
                windows = windows.masked_fill(is_last[..., None], -1)
            clips = rows_of_frames(frame_rows, torch.cat([pair, windows], dim=1))
            clip_features, seen = (values.squeeze(1) for values in self.hitrs.encode_clips(frame_features, clips))

        if config.clip_order_loss_weight:
            loss, accuracy = self.order_task(
                self.pretraining.clip_order_head(clip_features[:, 0]),
                self.pretraining.clip_order_head(clip_features[:, 1]),
                order_clip_mask,
            )
            losses.append(config.clip_order_loss_weight * loss)
            parts |= {"clip_order_loss": loss.detach(), "clip_order_accuracy": accuracy}
            clip_features, seen = clip_features[:, 2:], seen[:, 2:]

        if needs_videos:
            # The last clip of each sequence is set aside. What remains is (batch, clips - 1, ...), in two orders.
            last = num_clips - 1
            rows = torch.arange(len(last), device=last.device)
            target, target_seen = clip_features[rows, last], seen[rows, last]
            features = clip_features[:, :-1]
            mask = torch.arange(features.shape[1], device=last.device) < last[:, None]
            if config.ignore_absent_person:
                mask = mask & seen[:, :-1]
            if config.video_order_loss_weight:
                order = clip_permutation[:, :-1]
                permuted = features.gather(1, order[..., None].expand_as(features))
                features = torch.cat([features, permuted])
                mask = torch.cat([mask, mask.gather(1, order)])
            videos = self.hitrs.video(features, mask)[1].split(len(last))  # original, permuted

        if config.video_order_loss_weight:
            loss, accuracy = self.order_task(
                self.pretraining.video_order_head(videos[0]), self.pretraining.video_order_head(videos[1])
            )
            losses.append(config.video_order_loss_weight * loss)
            parts |= {"video_order_loss": loss.detach(), "video_order_accuracy": accuracy}

        if config.next_clip_loss_weight:
            # A sequence that ends with a gap can have a last clip in which nobody is seen: nothing to predict there.
            valid = target_seen if config.ignore_absent_person else None
            loss, accuracy = info_nce(
                self.pretraining.next_clip_head(videos[0]), target.detach(), config.temperature, valid
            )
            losses.append(config.next_clip_loss_weight * loss)
            parts |= {"next_clip_loss": loss.detach(), "next_clip_accuracy": accuracy}

        if not losses:
            raise ValueError("all pre-training losses have weight 0; give at least one of them a positive weight.")
        return HiTRSForPreTrainingOutput(loss=torch.stack(losses).sum(), **parts)

    def spatial_task(self, prediction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and mean distance of selected joints.

        Smooth L1 of scaled coordinates, mean over joints and channels, as in the released code; or the L1 norm, mean over
        joints (paper, Eq. 5).

        Args:
            prediction: `(joints, channels)`.
            target: `(joints, channels)`.
        """
        prediction, target = prediction.float(), target.float()
        count = max(len(prediction), 1)
        scale = self.config.coordinate_scale
        if self.config.spatial_loss == "smooth_l1":
            loss = smooth_l1_loss(scale * prediction, scale * target, reduction="sum")
            loss = loss / (count * self.config.num_channels)
        else:
            loss = scale * (prediction - target).abs().sum() / count
        error = (prediction.detach() - target).norm(dim=-1).sum() / count
        return loss, error

    def order_task(
        self, original: torch.Tensor, changed: torch.Tensor, valid: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and accuracy of "in order" (class 1) against "not in order" (class 0).

        The mean over both kinds, as in the released code; paper, Eq. 6 adds them.

        Args:
            original: logits `(batch, 2)`.
            changed: logits `(batch, 2)`.
            valid: bool `(batch,)`, samples that count.
        """
        logits = torch.cat([original, changed]).float()
        labels = torch.cat([torch.ones_like(original[:, 0]), torch.zeros_like(changed[:, 0])]).long()
        weights = torch.ones_like(logits[:, 0]) if valid is None else torch.cat([valid, valid]).to(logits.dtype)
        count = weights.sum().clamp(min=1)
        loss = (cross_entropy(logits, labels, reduction="none") * weights).sum() / count
        accuracy = ((logits.detach().argmax(dim=-1) == labels) * weights).sum() / count
        return loss, accuracy

    def check_clips(self, windows: torch.Tensor, num_clips: torch.Tensor, clip_permutation: torch.Tensor) -> None:
        """Raises a ValueError if there is nothing to put in order, or if the permutation is that of other clips."""
        if torch.compiler.is_compiling():
            return
        needed = 3 if self.config.video_order_loss_weight else 2
        if int(num_clips.min()) < needed:
            raise ValueError(
                f"sample {int(num_clips.argmin())} of the batch has {int(num_clips.min())} clips, but the tasks need at "
                f"least {needed}; leave out sequences that are so short."
            )
        if clip_permutation.shape != windows.shape[:2]:
            raise ValueError(
                f"clip_permutation has shape {tuple(clip_permutation.shape)}, but the batch has (batch, clips) = "
                f"{tuple(windows.shape[:2])}; make the batch with the clip_length, clip_stride and clip_dilation of the "
                "model's configuration."
            )


class HiTRSForActionRecognition(ActionRecognitionHead, HiTRSPreTrainedModel):
    """The encoder with a linear classifier on its pooled feature.

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition

    >>> model = HiTRSForActionRecognition(HiTRSConfig.from_preset("tiny", num_labels=60)).eval()
    >>> model(torch.randn(2, 2, 60, 25, 3)).logits.shape
    torch.Size([2, 60])
    ```
    """

    encoder_class = HiTRSModel


class HiTRSForActionDetection(ActionDetectionHead, HiTRSPreTrainedModel):
    """The encoder with a linear classifier on the clip centred on every frame; V-TRS is not used (paper, Sec. 4.2).

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiTRSConfig, HiTRSForActionDetection

    >>> model = HiTRSForActionDetection(HiTRSConfig.from_preset("tiny", num_labels=52)).eval()
    >>> model(torch.randn(1, 2, 500, 25, 3)).logits.shape
    torch.Size([1, 500, 52])
    ```
    """

    encoder_class = HiTRSModel


class HiTRSForMotionPrediction(MotionPredictionHead, HiTRSPreTrainedModel):
    """The encoder with a GRU that goes on from the last observed pose (paper, Sec. 4.2).

    Example:

    ```python
    >>> import torch
    >>> from skeleton_transformers import HiTRSConfig, HiTRSForMotionPrediction

    >>> model = HiTRSForMotionPrediction(HiTRSConfig.from_preset("tiny")).eval()
    >>> model(torch.randn(2, 1, 60, 25, 3)).predicted_keypoints.shape
    torch.Size([2, 1, 12, 25, 3])
    ```
    """

    encoder_class = HiTRSModel


__all__ = [
    "HiTRSForActionDetection",
    "HiTRSForActionRecognition",
    "HiTRSForMotionPrediction",
    "HiTRSForPreTraining",
    "HiTRSForPreTrainingOutput",
    "HiTRSModel",
    "HiTRSModelOutput",
    "HiTRSPreTrainedModel",
]
