"""MCC (Su et al., "Self-supervised 3D Skeleton Action Representation Learning with Motion Consistency and Continuity", ICCV 2021).

Pre-training of any encoder. Of every sequence there are three clips: a basic one, a positive one at another speed, and a negative one at
the speed of the basic one whose motion is broken ([`MCCPreTrainingCollator`]).

    clips (batch, persons, clip_frames, joints, channels) -> backbone, pooler_output, unit length: features (batch, hidden_size)
      motion consistency: the positive feature is nearer to the basic one than the negative feature (triplet), and than features of other
                          sequences, which a memory keeps (contrast)
    last map of the backbone (tracks, hidden_size, steps, joints)
      motion continuity:  a decoder gives the same stretch of time in twice as many frames (interpolation)

What a run leaves behind is the backbone, a plain model of its own family.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import can_return_tuple

from ...data.mcc_collator import MCCPreTrainingCollator
from ...modeling_loading import CheckedLoading, CheckpointError, saved_config
from ...modeling_outputs import SkeletonModelOutput, SkeletonPreTrainingOutput
from ...modeling_pretraining import PreTrainingObjective
from ...modeling_tasks import WindowedFrameFeatures
from ...objectives.feature_queue import FeatureQueue
from ...objectives.momentum import MomentumEncoder
from ..families import get_family
from ..graph_layers import FrameBatchNorm, GraphBlock, PartitionedGraphConvolution
from ..graphs import partitioned_graph
from .configuration_mcc import MCCConfig


@dataclass
class MCCForPreTrainingOutput(SkeletonPreTrainingOutput):
    """Output of [`MCCForPreTraining`]. Only `loss` has a gradient; what a task with weight 0 would give is None.

    Args:
        loss: weighted sum of the three losses.
        triplet_loss: motion consistency within a sequence.
        contrast_loss: motion consistency against other sequences.
        interpolation_loss: motion continuity, squared distance of interpolated and true joint, in squared units of the keypoints.
        positive_distance: distance of the features of basic and positive clips, between 0 and 2.
        negative_distance: distance of the features of basic and negative clips.
        triplet_accuracy: share of sequences whose positive clip is nearer than the negative one.
        contrast_accuracy: share of sequences whose positive clip is nearer than all features of the memory.
    """

    triplet_loss: torch.Tensor | None = None
    contrast_loss: torch.Tensor | None = None
    interpolation_loss: torch.Tensor | None = None
    positive_distance: torch.Tensor | None = None
    negative_distance: torch.Tensor | None = None
    triplet_accuracy: torch.Tensor | None = None
    contrast_accuracy: torch.Tensor | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Motion consistency


def triplet_loss(positive: torch.Tensor, negative: torch.Tensor, margin: float, form: str) -> torch.Tensor:
    """Triplet loss of distances.

    Args:
        positive: `(n,)`, distances of basic and positive clips.
        negative: `(n,)`, distances of basic and negative clips.
        margin: how much nearer the positive clip is to be.
        form: `"corrected"`, or `"printed"` (paper, Eq. 2), which does the reverse.
    """
    difference = positive - negative
    return torch.relu(margin + (-difference if form == "printed" else difference)).mean()


def memory_contrast(
    anchors: torch.Tensor,
    positives: torch.Tensor,
    memory: torch.Tensor,
    temperature: float,
    similarity: str = "cosine",
    excluded: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contrast of each anchor with its own positive against features of other sequences (InfoNCE; paper, Eq. 3).

    Both anchors and positives get a gradient, for one encoder makes both.

    Args:
        anchors: float32 `(n, dim)`, unit vectors.
        positives: float32 `(n, dim)`, unit vectors.
        memory: float32 `(k, dim)`, unit vectors.
        temperature: positive.
        similarity: `"cosine"`, `"negative_distance"`, or `"printed"`: the distance, with which the loss does the reverse.
        excluded: bool `(n, k)`, features that are no negatives of an anchor.

    Returns:
        the loss, and the share of anchors nearer to their positive than to the memory (no gradient).
    """
    with torch.autocast(anchors.device.type, enabled=False):
        if similarity == "cosine":
            near, far = (anchors * positives).sum(dim=1, keepdim=True), anchors @ memory.T
        else:
            sign = 1 if similarity == "printed" else -1
            near = sign * torch.linalg.vector_norm(anchors - positives, dim=1, keepdim=True)
            far = sign * torch.cdist(anchors, memory)
    if excluded is not None:
        far = far.masked_fill(excluded, -torch.inf)
    logits = torch.cat([near, far], dim=1) / temperature  # (n, 1 + k)
    hits = logits.detach().argmax(dim=1) == 0
    return (logits.logsumexp(dim=1) - logits[:, 0]).mean(), hits.to(logits.dtype).mean()


# ---------------------------------------------------------------------------------------------------------------------
# Motion continuity


class MCCDecoderBlock(GradientCheckpointingLayer, GraphBlock):
    """One block of the decoder, as in ST-GCN."""


class MCCDecoder(nn.Module):
    """Makes `interpolation_factor` times as many frames as the clip had (paper, Sec. 3.3): four blocks and a deconvolution.

    The blocks undo the stride of the backbone, in two equal parts, behind the second and the third block; then a graph convolution and a
    transposed convolution over time give the coordinates.
    """

    graph: torch.Tensor

    def __init__(self, config: MCCConfig, input_size: int):
        super().__init__()
        self.config = config
        self.register_buffer("graph", torch.from_numpy(partitioned_graph(config.skeleton_layout)))
        subsets, joints = self.graph.shape[:2]
        # What tells joints apart where the backbone has one feature for all of them.
        self.joint_embeddings: nn.Parameter | None = None
        if not config.keeps_joints:
            self.joint_embeddings = nn.Parameter(torch.zeros(input_size, 1, joints))
        self.blocks = nn.ModuleList()
        for size in config.decoder_sizes:
            graph = PartitionedGraphConvolution(input_size, size, subsets, joints)
            self.blocks.append(MCCDecoderBlock(graph, input_size, size, 9, stride=1, dropout=0.0))
            input_size = size
        self.output_graph = PartitionedGraphConvolution(input_size, input_size, subsets, joints)
        self.output_norm = FrameBatchNorm(input_size)
        factor = config.interpolation_factor
        padding = factor // 2
        self.output = nn.ConvTranspose2d(
            input_size, config.num_channels, (factor + 2 * padding, 1), (factor, 1), (padding, 0)
        )

    def forward(self, states: torch.Tensor, mask: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Interpolates.

        Args:
            states: `(tracks, input_size, steps, joints)`, or `(tracks, input_size, steps, 1)` where the joints have one feature.
            mask: bool `(tracks, steps)`, True where the person is there.
            num_frames: frames that the clip had.

        Returns:
            float32 `(tracks, interpolation_factor * num_frames, joints, channels)`.
        """
        if self.joint_embeddings is not None:
            states = (states + self.joint_embeddings) * mask[:, None, :, None]
        # From steps to frames by the same factor twice: 8 steps of 32 frames become 16, then 32.
        lengths = {1: round((mask.shape[1] * num_frames) ** 0.5), 2: num_frames}
        for number, block in enumerate(self.blocks):
            shown = None if bool(mask.all()) else mask
            states = block(states, shown, shown, self.graph)
            if number in lengths:
                states = nn.functional.interpolate(states, (lengths[number], states.shape[3]))
                mask = nn.functional.interpolate(mask[:, None].float(), lengths[number])[:, 0] > 0.5
        shown = None if bool(mask.all()) else mask
        states = torch.relu(self.output_norm(self.output_graph(states, self.graph), shown))
        return self.output(states).permute(0, 2, 3, 1).float()  # (tracks, channels, frames, joints) ->


class MCCPreTrainedModel(CheckedLoading, PreTrainedModel):
    """Initialisation, loading and saving of [`MCCForPreTraining`]; the backbone is initialised as its own family does."""

    config: MCCConfig
    base_model_prefix = "backbone"
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["MCCDecoderBlock"]
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The decoder as ST-GCN: convolutions N(0, 0.02), batch norms around 1; the graph is that of the layout."""
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            init.normal_(module.weight, std=0.02)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            super()._init_weights(module)
            init.normal_(module.weight, mean=1.0, std=0.02)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, PartitionedGraphConvolution):
            if module.edge_importance is not None:
                init.ones_(module.edge_importance)
        elif isinstance(module, MCCDecoder):
            init.copy_(module.graph, torch.from_numpy(partitioned_graph(self.config.skeleton_layout)))
            if module.joint_embeddings is not None:
                init.normal_(module.joint_embeddings, std=0.02)
        elif isinstance(module, FeatureQueue):
            module.reset_parameters()


class MCCForPreTraining(PreTrainingObjective, MCCPreTrainedModel):
    """Motion consistency and continuity around any encoder. The clips come with the batch, from [`MCCPreTrainingCollator`].

    The memory and the key encoder belong to the state of a training run, which `accelerate` saves. They are not written by
    `save_pretrained`. `examples/pretrain.py` publishes the backbone alone, a plain model of its own family.

    Example:

    ```python
    >>> from skeleton_transformers import MCCConfig, MCCForPreTraining

    >>> model = MCCForPreTraining(MCCConfig.from_preset("tiny", backbone="agcn", layout="coco17", num_channels=2))
    >>> type(model.backbone).__name__
    'AGCNModel'
    ```
    """

    collator_class = MCCPreTrainingCollator
    tasks = {
        "triplet_loss_weight": ("triplet_loss", "positive_distance", "negative_distance", "triplet_accuracy"),
        "contrast_loss_weight": ("contrast_loss", "contrast_accuracy"),
        "interpolation_loss_weight": ("interpolation_loss",),
    }
    _keys_to_ignore_on_load_missing = [r"^key_backbone\.", r"^key_projection\.", r"^memory\."]

    def __init__(self, config: MCCConfig):
        super().__init__(config)
        backbone_config: Any = config.backbone_config
        self.backbone = get_family(config.backbone).load("encoder")(backbone_config)
        self.projection: nn.Module = nn.Identity()
        if config.projection_size is not None:
            self.projection = nn.Linear(config.hidden_size, config.projection_size)
        self.key_backbone = self.key_projection = None
        if config.momentum is not None:
            self.key_backbone = MomentumEncoder(self.backbone, config.momentum)
            self.key_projection = MomentumEncoder(self.projection, config.momentum)
        width = config.projection_size or config.hidden_size
        self.memory = FeatureQueue(config.queue_size, width, has_sources=True)
        self.decoder = None
        if config.interpolation_loss_weight:
            # Width of the steps: that of frame features for encoders that look at a sequence as a whole.
            is_windowed = isinstance(self.backbone, WindowedFrameFeatures)
            self.decoder = MCCDecoder(
                config, backbone_config.frame_feature_size if is_windowed else config.hidden_size
            )
        self._keys_to_ignore_on_save = {
            name for name in self.state_dict() if name.startswith(("key_backbone.", "key_projection.", "memory."))
        }
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        # What they copy is registered, and so initialised or loaded, before them.
        if module is self.key_backbone:
            module.restart(self.backbone)
        elif module is self.key_projection:
            module.restart(self.projection)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """As `PreTrainedModel.from_pretrained`; from a checkpoint of another family, its encoder becomes the backbone.

        So pre-training goes on from an encoder that there is, such as one of AS-GCN whose links have been learnt.

        Raises:
            CheckpointError: the checkpoint is of another family than the backbone of `config`, or damaged.
        """
        name, config = pretrained_model_name_or_path, kwargs.get("config")
        model_type = None if name is None else saved_config(name, kwargs).get("model_type")
        if model_type in (None, cls.config_class.model_type):
            return super().from_pretrained(name, *model_args, **kwargs)
        if config is None:
            kwargs["config"] = config = MCCConfig.from_pretrained(name)
        if config.backbone != model_type:
            raise CheckpointError(
                f"{name} holds a model of the family {model_type!r}, but the backbone is of the family {config.backbone!r}; make "
                "them the same"
            )
        wants_report = kwargs.pop("output_loading_info", False)
        encoder_class = get_family(model_type).load("encoder")
        encoder, report = encoder_class.from_pretrained(
            name, **{**kwargs, "config": config.backbone_config}, output_loading_info=True
        )
        model = cls(config).to(encoder.dtype)
        model.backbone.load_state_dict(encoder.state_dict())
        if model.key_backbone is not None:
            model.key_backbone.network.load_state_dict(encoder.state_dict())
        model.eval()
        return (model, report) if wants_report else model

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor,
        positive_keypoints: torch.Tensor,
        positive_mask: torch.Tensor,
        negative_keypoints: torch.Tensor,
        negative_mask: torch.Tensor,
        target_keypoints: torch.Tensor,
        target_mask: torch.Tensor,
        positive_target_keypoints: torch.Tensor,
        positive_target_mask: torch.Tensor,
        sequences: torch.Tensor,
    ) -> MCCForPreTrainingOutput:
        """Computes the losses of a batch. In training mode the features of the positive clips enter the memory afterwards.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`, the basic clips.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there.
            positive_keypoints: as `keypoints`, the clips at another speed.
            positive_mask: as `frame_mask`.
            negative_keypoints: as `keypoints`, the clips whose motion is broken.
            negative_mask: as `frame_mask`.
            target_keypoints: float `(batch, persons, interpolation_factor * frames, joints, channels)`, the basic clips with more frames.
            target_mask: bool `(batch, persons, interpolation_factor * frames)`.
            positive_target_keypoints: as `target_keypoints`, of the positive clips.
            positive_target_mask: as `target_mask`.
            sequences: int64 `(batch,)`, numbers of the sequences in the training data; features of the same number are no negatives.

        Raises:
            ValueError: shapes do not fit, nobody is present in a clip, or all losses have weight 0.
        """
        config, batch = self.config, len(keypoints)
        clips, masks = [keypoints, positive_keypoints], [frame_mask, positive_mask]
        if config.triplet_loss_weight:
            clips, masks = [*clips, negative_keypoints], [*masks, negative_mask]
        encoded = self.backbone(
            torch.cat(clips),
            torch.cat(masks),
            output_hidden_states=self.decoder is not None and config.keeps_joints,
            return_dict=True,
        )
        features = unit_features(self.projection(encoded.pooler_output)).split(batch)
        losses: list[torch.Tensor] = []  # times their weights
        parts: dict[str, torch.Tensor] = {}

        if config.triplet_loss_weight:
            basic, positive, negative = features
            near = torch.linalg.vector_norm(basic - positive, dim=1)
            far = torch.linalg.vector_norm(basic - negative, dim=1)
            loss = triplet_loss(near, far, config.margin, config.triplet_form)
            losses.append(config.triplet_loss_weight * loss)
            parts |= {"triplet_loss": loss.detach(), "triplet_accuracy": (near < far).float().mean()}
            parts |= {"positive_distance": near.detach().mean(), "negative_distance": far.detach().mean()}
        if config.contrast_loss_weight:
            keys = features[1]
            if self.key_backbone is not None and self.key_projection is not None:
                key = self.key_backbone(positive_keypoints, positive_mask, return_dict=True)
                keys = unit_features(self.key_projection(key.pooler_output))
            # In evaluation the numbers are those of another data set.
            excluded = self.memory.come_from(sequences) if self.training else None
            loss, accuracy = memory_contrast(
                features[0],
                keys,
                self.memory.candidates().float(),
                config.temperature,
                config.contrast_similarity,
                excluded,
            )
            losses.append(config.contrast_loss_weight * loss)
            parts |= {"contrast_loss": loss.detach(), "contrast_accuracy": accuracy}
            if self.training:
                self.memory.push(keys, sequences)
        if self.decoder is not None:
            loss = self.interpolate(
                encoded,
                torch.cat(masks[:2]),
                torch.cat([target_keypoints, positive_target_keypoints]),
                torch.cat([target_mask, positive_target_mask]),
            )
            losses.append(config.interpolation_loss_weight * loss)
            parts["interpolation_loss"] = loss.detach()
        if not losses:
            raise ValueError("all pre-training losses have weight 0; give at least one of them a positive weight.")
        return MCCForPreTrainingOutput(loss=torch.stack(losses).sum(), **parts)

    def interpolate(
        self, encoded: SkeletonModelOutput, frame_mask: torch.Tensor, targets: torch.Tensor, target_mask: torch.Tensor
    ) -> torch.Tensor:
        """Loss of the interpolation: mean over the joints, frames and persons of each clip, then over the clips.

        Args:
            encoded: output of the backbone for basic, positive (and negative) clips, one after the other.
            frame_mask: bool `(2 * batch, persons, frames)`, of basic and positive clips.
            targets: float `(2 * batch, persons, interpolation_factor * frames, joints, channels)`.
            target_mask: bool `(2 * batch, persons, interpolation_factor * frames)`.
        """
        assert self.decoder is not None and encoded.step_mask is not None and encoded.last_hidden_state is not None
        rows, _, frames = frame_mask.shape
        wanted = self.config.interpolation_factor * frames
        if targets.shape[2] != wanted:
            raise ValueError(
                f"target_keypoints must have interpolation_factor * frames = {wanted} frames; got {targets.shape[2]}."
            )
        first = 0 if self.config.interpolates_basic else rows // 2
        chosen = encoded.step_mask.any(dim=2)  # (clips, persons), the persons that the backbone has encoded
        tracks = slice(int(chosen[:first].sum()), int(chosen[:rows].sum()))
        if self.config.keeps_joints:
            assert encoded.hidden_states is not None
            states = encoded.hidden_states[-1][tracks]
        else:
            states = encoded.last_hidden_state[chosen][tracks].transpose(1, 2)[..., None]
        interpolated = self.decoder(states, encoded.step_mask[chosen][tracks], frames)

        chosen = chosen[first:rows]
        counted = (target_mask & frame_mask.any(dim=2, keepdim=True))[first:][chosen]  # (tracks, wanted)
        target = targets[first:][chosen].float().masked_fill(~counted[..., None, None], 0)
        error = (interpolated - target).square().sum(dim=3).mean(dim=2) * counted  # (tracks, wanted)
        owner = chosen.nonzero()[:, 0]  # the clip of each track
        total, count = (
            error.new_zeros(len(chosen)).index_add(0, owner, values.sum(dim=1).to(error.dtype))
            for values in (error, counted)
        )
        return (total / count.clamp(min=1)).mean()

    @property
    def has_idle_parameters(self) -> bool:
        """Which parameters take part is the encoder's own business: those of AS-GCN that predict the future do not."""
        return True

    def published(self, state_dict: dict[str, torch.Tensor]) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
        """The backbone with its weights, see [`PreTrainingObjective`]."""
        prefix = f"{self.base_model_prefix}."
        weights = {name.removeprefix(prefix): t for name, t in state_dict.items() if name.startswith(prefix)}
        return self.backbone, weights

    def after_optimizer_step(self) -> None:
        """The key encoder, if there is one, takes one step towards the encoder."""
        if self.key_backbone is not None and self.key_projection is not None:
            self.key_backbone.follow(self.backbone)
            self.key_projection.follow(self.projection)


def unit_features(features: torch.Tensor) -> torch.Tensor:
    """Features `(n, dim)` of length 1, in full precision: a margin of 0.15 means nothing for features of any length."""
    return nn.functional.normalize(features.float(), dim=1)


__all__ = [
    "MCCDecoder",
    "MCCForPreTraining",
    "MCCForPreTrainingOutput",
    "MCCPreTrainedModel",
    "memory_contrast",
    "triplet_loss",
]
