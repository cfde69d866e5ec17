"""Configuration of ST-GCN."""

from typing import Any, ClassVar

import numpy as np
from huggingface_hub.dataclasses import strict

from ..graph_configuration import GraphNetworkConfig
from ..graphs import HOPS_TO_CENTER, PARTITIONS, partitioned_graph


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_sizes": [16, 16, 32, 32],
        "strides": [1, 1, 2, 2],
        "hidden_dropout_prob": 0.1,
        "decoder_hidden_size": 64,
    },
    "small": {
        "hidden_sizes": [32, 32, 64, 64, 128, 128],
        "strides": [1, 1, 2, 1, 2, 1],
        "hidden_dropout_prob": 0.2,
    },
    "base": {},  # the defaults are the released architecture
    "original": {"ignore_absent_person": False, "padded_frames": 300},
}


@strict
class STGCNConfig(GraphNetworkConfig):
    r"""Configuration of [`STGCNModel`] and its tasks.

    ST-GCN is described in Yan et al., "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition"
    (AAAI 2018). The defaults are the architecture of the released code, which treats absent persons in another way.

    Args:
        layout (`str` or `dict`, defaults to `"ntu25"`):
            Skeleton layout: a name that [`get_layout`] knows, or `SkeletonLayout.to_dict()` of a custom one, which then
            travels inside `config.json`. Its `edges` are the graph, its `graph_center` the centre of gravity.
        num_channels (`int`, defaults to 3): Values per joint, such as x, y, z or x, y, confidence.
        hidden_sizes (`list[int]`, defaults to four times 64, three times 128, three times 256): Width of every layer.
        strides (`list[int]`, defaults to 2 in the fifth and eighth layer and 1 elsewhere): Stride over time of every layer.
        temporal_kernel_size (`int`, defaults to 9): Frames that a convolution over time sees, odd.
        partition (`str`, defaults to `"spatial"`): Subsets of the neighbours, see [`partitioned_graph`].
        max_hop (`int`, defaults to 1): Edges to the farthest neighbour.
        hop_to_center (`str`, defaults to `"truncated"`):
            Distance to the centre in the `"spatial"` partition. Paper, Sec. 3.3: of every joint (`"full"`). Released code: counted up
            to `max_hop`, all joints beyond equally far (`"truncated"`).
        edge_importance (`bool`, defaults to `True`): Whether every layer learns the importance of every edge (paper, Sec. 3.4).
        hidden_dropout_prob (`float`, defaults to 0.5):
            Dropout behind the convolutions over time, except in the first layer. Released recipe for Kinetics: 0.
        ignore_absent_person (`bool`, defaults to `True`):
            Whether only the frames in which a person is there, and only persons who are ever there, are averaged. `False` is what the
            released code does: everything in the batch is averaged, with zeros for whatever is absent.
        padded_frames (`int`, *optional*):
            With `ignore_absent_person=False`, length to which every sequence is brought (released recipe: 300).
        padding (`str`, defaults to `"zeros"`): How that is done, with `"zeros"` or by `"repeat"`.
        frame_window (`int`, defaults to 64): Frames of a long take that action detection shows the encoder at once, a multiple of 4.
        prediction_frames (`int`, defaults to 12): Frames that motion prediction gives, 400 ms at 30 frames per second.
        decoder_hidden_size (`int`, defaults to 1024): Width of the GRU that predicts motion.
        decoder_residual (`str`, defaults to `"pose"`):
            What motion prediction gives the change of: the last `"pose"`, or a learnt share of the last
            `"velocity"`, which it then sees, too (a departure from the paper, for smooth recordings such as those of motion capture).

    Raises:
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import STGCNConfig

    >>> config = STGCNConfig(layout="openpose18", num_labels=400)
    >>> config.make_graph().shape
    (3, 18, 18)
    ```
    """

    model_type = "stgcn"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    citation = """@inproceedings{yan2018stgcn,
  title     = {Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition},
  author    = {Yan, Sijie and Xiong, Yuanjun and Lin, Dahua},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year      = {2018}
}"""

    hidden_dropout_prob: float | int = 0.5
    partition: str = "spatial"
    max_hop: int = 1
    hop_to_center: str = "truncated"
    edge_importance: bool = True

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        super().validate_architecture()
        if self.max_hop < 1:
            raise ValueError(f"max_hop must be at least 1, got {self.max_hop}.")
        for name, choices in (("partition", PARTITIONS), ("hop_to_center", HOPS_TO_CENTER)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}.")

    def make_graph(self) -> np.ndarray:
        """The fixed matrices of the graph, float32 `(subsets, joints, joints)`, see [`partitioned_graph`]."""
        return partitioned_graph(self.skeleton_layout, self.partition, self.max_hop, self.hop_to_center)

    @property
    def num_subsets(self) -> int:
        """Subsets of the neighbours."""
        return {"uniform": 1, "distance": 1 + self.max_hop, "spatial": 1 + 2 * self.max_hop}[self.partition]


__all__ = ["PRESETS", "STGCNConfig"]
