"""Configuration of 2s-AGCN."""

from typing import Any, ClassVar

import numpy as np
from huggingface_hub.dataclasses import strict

from ..graph_configuration import GraphNetworkConfig
from ..graphs import directed_graph


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
    "original": {
        "ignore_absent_person": False,
        "padded_frames": 300,
        "padding": "repeat",
        "normalize_persons_apart": True,
    },
}


@strict
class AGCNConfig(GraphNetworkConfig):
    r"""Configuration of [`AGCNModel`] and its tasks.

    2s-AGCN is described in Shi et al., "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition"
    (CVPR 2019). The defaults are the architecture of the released code, which treats persons in another way. The two streams are two
    models, of joints and of bones, whose scores are added.

    Args:
        layout (`str` or `dict`, defaults to `"ntu25"`):
            Skeleton layout: a name that [`get_layout`] knows, or `SkeletonLayout.to_dict()` of a custom one, which then
            travels inside `config.json`. Its `edges` are the graph.
        num_channels (`int`, defaults to 3): Values per joint, such as x, y, z or x, y, confidence.
        hidden_sizes (`list[int]`, defaults to four times 64, three times 128, three times 256): Width of every layer.
        strides (`list[int]`, defaults to 2 in the fifth and eighth layer and 1 elsewhere): Stride over time of every layer.
        temporal_kernel_size (`int`, defaults to 9): Frames that a convolution over time sees, odd.
        embedding_factor (`int`, defaults to 4): How many times narrower the embeddings are that joints are compared by.
        normalize_persons_apart (`bool`, defaults to `False`):
            Whether the normalisation of the input has statistics of its own for each of the `num_persons` places. `True` is what the
            released code does (the paper does not say): the order of persons matters then, and there may be no more of them.
        num_persons (`int`, defaults to 2): Places for persons; of effect with `normalize_persons_apart=True` only.
        hidden_dropout_prob (`float`, defaults to 0.0): Dropout behind the convolutions over time, except in the first layer.
        ignore_absent_person (`bool`, defaults to `True`):
            Whether only the frames in which a person is there, and only persons who are ever there, are averaged. `False` is what the
            released code does: everything in the batch is averaged, with zeros for whatever is absent.
        padded_frames (`int`, *optional*):
            With `ignore_absent_person=False`, length to which every sequence is brought (released recipe: 300).
        padding (`str`, defaults to `"zeros"`): How that is done, with `"zeros"` or by `"repeat"` (released recipe).
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
    >>> from skeleton_transformers import AGCNConfig

    >>> config = AGCNConfig(layout="kinect20", num_labels=10)
    >>> config.make_graph().shape
    (3, 20, 20)
    ```
    """

    model_type = "agcn"
    presets: ClassVar[dict[str, dict[str, Any]]] = PRESETS
    citation = """@inproceedings{shi2019agcn,
  title     = {Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition},
  author    = {Shi, Lei and Zhang, Yifan and Cheng, Jian and Lu, Hanqing},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2019}
}"""

    embedding_factor: int = 4
    normalize_persons_apart: bool = False
    num_persons: int = 2

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        super().validate_architecture()
        for name in ("embedding_factor", "num_persons"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if min(self.hidden_sizes) < self.embedding_factor:
            raise ValueError(
                f"hidden_sizes must be at least embedding_factor={self.embedding_factor}, got {self.hidden_sizes}."
            )

    def make_graph(self) -> np.ndarray:
        """The fixed matrices of the graph, float32 `(3, joints, joints)`, see [`directed_graph`]."""
        return directed_graph(self.skeleton_layout)


__all__ = ["PRESETS", "AGCNConfig"]
