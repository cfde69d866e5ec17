"""Configuration of AS-GCN."""

from typing import Any, ClassVar

import numpy as np
from huggingface_hub.dataclasses import strict

from ..graph_configuration import GraphNetworkConfig
from ..graphs import HOPS_TO_CENTER, partitioned_graph


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_sizes": [16, 16, 32, 32],
        "strides": [1, 1, 2, 2],
        "hidden_dropout_prob": 0.1,
        "max_hop": 2,
        "link_hidden_size": 16,
        "link_frames": 16,
        "future_hidden_size": 16,
        "decoder_hidden_size": 64,
    },
    "small": {
        "hidden_sizes": [32, 32, 64, 64, 128, 128],
        "strides": [1, 1, 2, 1, 2, 1],
        "hidden_dropout_prob": 0.2,
        "link_hidden_size": 64,
        "link_frames": 28,
        "future_hidden_size": 64,
    },
    "base": {},  # the defaults are the released architecture
    "original": {
        "ignore_absent_person": False,
        "padded_frames": 290,
        "padding": "repeat",
        "legacy_prediction_residual": True,
        "legacy_second_layer": True,
    },
}


@strict
class ASGCNConfig(GraphNetworkConfig):
    r"""Configuration of [`ASGCNModel`] and its tasks.

    AS-GCN is described in Li et al., "Actional-Structural Graph Convolutional Networks for Skeleton-Based Action Recognition"
    (CVPR 2019). The defaults are the architecture of the released code, which treats absent persons in another way.

    Args:
        layout (`str` or `dict`, defaults to `"ntu25"`):
            Skeleton layout: a name that [`get_layout`] knows, or `SkeletonLayout.to_dict()` of a custom one, which then
            travels inside `config.json`. Its `edges` are the graph, its `graph_center` the centre of gravity.
        num_channels (`int`, defaults to 3): Values per joint, such as x, y, z or x, y, confidence.
        hidden_sizes (`list[int]`, defaults to three times 64, 128 and 256): Width of every layer.
        strides (`list[int]`, defaults to 2 in the fourth and seventh layer and 1 elsewhere): Stride over time of every layer.
        temporal_kernel_size (`int`, defaults to 9): Frames that a convolution over time sees, odd.
        max_hop (`int`, defaults to 4): Edges to the farthest neighbour of a structural link.
        hop_to_center (`str`, defaults to `"truncated"`): See [`STGCNConfig`].
        hidden_dropout_prob (`float`, defaults to 0.5):
            Dropout behind the convolutions over time, except in the first layer, and in the prediction of the future.
        action_link_weight (`float`, defaults to 0.5): Weight of what comes over action links (lambda in the paper, Eq. 8).
        num_link_types (`int`, defaults to 2): Types of action links, beside "no link".
        link_frames (`int`, defaults to 50): Frames from which action links are inferred.
        link_hidden_size (`int`, defaults to 128): Width of the inference module and of its decoder.
        link_dropout_prob (`float`, defaults to 0.5): Dropout in both.
        link_temperature (`float`, defaults to 0.5): Temperature of the Gumbel-softmax that draws links.
        link_scale (`float`, defaults to 0.1): Factor on the normalised matrices of action links.
        no_link_prior (`float`, defaults to 0.95): Prior probability of "no link"; the types of links share the rest.
        motion_variance (`float`, defaults to 5e-4): Variance of the predicted positions in the first stage, in squared units of the keypoints.
        motion_loss_weight (`float`, defaults to 1.0): First stage: weight of the likelihood of the motion.
        link_prior_loss_weight (`float`, defaults to 1.0): First stage: weight of the divergence from the prior.
        future_frames (`int`, defaults to 10): Last frames of a sequence, held out in training, that are predicted from the others.
        future_hidden_size (`int`, defaults to 128): Width of the layers that predict them.
        future_loss_weight (`float`, defaults to 0.01): Weight of that prediction in recognition training; 0 leaves it out.
        legacy_prediction_residual (`bool`, defaults to `False`):
            Whether the last observed pose is added as in the released code, which mixes up the axes x, y and z.
        legacy_second_layer (`bool`, defaults to `False`):
            Whether training evaluates the second layer twice, as the released code does, which updates its statistics twice.
        ignore_absent_person (`bool`, defaults to `True`):
            Whether only the frames in which a person is there, and only persons who are ever there, are averaged. `False` is what the
            released code does: everything in the batch is averaged, with zeros for whatever is absent, and only the future of
            the first person counts.
        padded_frames (`int`, *optional*):
            With `ignore_absent_person=False`, length to which every sequence is brought (released recipe: 300, of which the
            first 290 are the input).
        padding (`str`, defaults to `"zeros"`): How that is done, with `"zeros"` or by `"repeat"` (released recipe).
        frame_window (`int`, defaults to 64): Frames of a long take that action detection shows the encoder at once, a multiple of 4.
        prediction_frames (`int`, defaults to 12): Frames that [`ASGCNForMotionPrediction`] gives.
        decoder_hidden_size (`int`, defaults to 1024): Width of the GRU of [`ASGCNForMotionPrediction`].
        decoder_residual (`str`, defaults to `"pose"`):
            What motion prediction gives the change of: the last `"pose"`, or a learnt share of the last
            `"velocity"`, which it then sees, too (a departure from the paper, for smooth recordings such as those of motion capture).

    Raises:
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import ASGCNConfig

    >>> ASGCNConfig().make_graph().shape
    (9, 25, 25)
    ```
    """

    model_type = "asgcn"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    citation = """@inproceedings{li2019asgcn,
  title     = {Actional-Structural Graph Convolutional Networks for Skeleton-Based Action Recognition},
  author    = {Li, Maosen and Chen, Siheng and Chen, Xu and Zhang, Ya and Wang, Yanfeng and Tian, Qi},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2019}
}"""

    hidden_sizes: list[int] | tuple[int, ...] = (64, 64, 64, 128, 128, 128, 256, 256, 256)
    strides: list[int] | tuple[int, ...] = (1, 1, 1, 2, 1, 1, 2, 1, 1)
    hidden_dropout_prob: float | int = 0.5
    max_hop: int = 4
    hop_to_center: str = "truncated"
    action_link_weight: float | int = 0.5
    num_link_types: int = 2
    link_frames: int = 50
    link_hidden_size: int = 128
    link_dropout_prob: float | int = 0.5
    link_temperature: float | int = 0.5
    link_scale: float | int = 0.1
    no_link_prior: float | int = 0.95
    motion_variance: float | int = 5e-4
    motion_loss_weight: float | int = 1.0
    link_prior_loss_weight: float | int = 1.0
    future_frames: int = 10
    future_hidden_size: int = 128
    future_loss_weight: float | int = 0.01
    legacy_prediction_residual: bool = False
    legacy_second_layer: bool = False

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        super().validate_architecture()
        for name in ("max_hop", "num_link_types", "link_hidden_size", "future_frames", "future_hidden_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.link_frames < 2:
            raise ValueError(f"link_frames must be at least 2, got {self.link_frames}.")
        if len(self.hidden_sizes) < 2:
            raise ValueError(f"hidden_sizes needs at least two layers, got {self.hidden_sizes}.")
        if self.hop_to_center not in HOPS_TO_CENTER:
            raise ValueError(f"hop_to_center must be one of {', '.join(HOPS_TO_CENTER)}; got {self.hop_to_center!r}.")
        if not 0 <= self.link_dropout_prob < 1:
            raise ValueError(f"link_dropout_prob must lie in [0, 1), got {self.link_dropout_prob}.")
        if not 0 < self.no_link_prior < 1:
            raise ValueError(f"no_link_prior must lie between 0 and 1, got {self.no_link_prior}.")
        for name in ("link_temperature", "link_scale", "motion_variance"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        for name in ("action_link_weight", "motion_loss_weight", "link_prior_loss_weight", "future_loss_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")

    def make_graph(self) -> np.ndarray:
        """The structural links, float32 `(2 * max_hop + 1, joints, joints)`, see [`partitioned_graph`]."""
        return partitioned_graph(self.skeleton_layout, "spatial", self.max_hop, self.hop_to_center)

    @property
    def num_subsets(self) -> int:
        """Subsets of structural links."""
        return 2 * self.max_hop + 1


__all__ = ["PRESETS", "ASGCNConfig"]
