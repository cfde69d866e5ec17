"""Configuration of an ensemble of recognisers."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..families import get_family


FUSIONS = ("logits", "softmax")

# What the ensemble has once for all members, or what says nothing about a model.
_SHARED = ("architectures", "dtype", "id2label", "label2id", "transformers_version", "_name_or_path")


@strict
class SkeletonEnsembleConfig(PreTrainedConfig):
    r"""Configuration of [`SkeletonEnsembleForActionRecognition`].

    Args:
        members (`dict[str, dict]`):
            Name of each member, such as `"joint"`, `"motion"` and `"bone"`, and its configuration (with its `model_type`), without
            the label map, which is that of the ensemble. Members may be of different families, layouts and frame counts. They are
            kept in the order of their names, as in the file.
        fusion (`str`, defaults to `"logits"`):
            What is averaged: `"logits"`, the raw scores (CrosSCLR, Li et al., CVPR 2021; Hi-TRS, Chen et al., ECCV 2022), or
            `"softmax"`, the probabilities.
        weights (`dict[str, float]`, *optional*):
            Weight of each member in the mean, at least 0; only their ratios count. Default 1 for everyone.

    Raises:
        StrictDataclassClassValidationError: fields contradict each other; the message names field, value and remedy.

    Example:

    ```python
    >>> from skeleton_transformers import HiTRSConfig, SkeletonEnsembleConfig

    >>> member = HiTRSConfig.from_preset("tiny").to_diff_dict()
    >>> SkeletonEnsembleConfig(members={"joint": member, "bone": member}, num_labels=10).weights
    {'bone': 1.0, 'joint': 1.0}
    ```
    """

    model_type = "skeleton_ensemble"

    members: dict[str, dict[str, Any]] | None = None
    fusion: str = "logits"
    weights: dict[str, float | int] | None = None

    def __post_init__(self, **kwargs):
        self.members = {
            name: {key: value for key, value in fields.items() if key not in _SHARED}
            for name, fields in sorted((self.members or {}).items())
        }
        if self.weights is None:
            self.weights = dict.fromkeys(self.members, 1.0)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Cross-field checks, run by `@strict` after construction."""
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {', '.join(FUSIONS)}; got {self.fusion!r}.")
        members, weights = self.members or {}, self.weights or {}
        if set(weights) != set(members):
            raise ValueError(f"weights must name the members {', '.join(members)}; got {weights}.")
        if members and not (min(weights.values()) >= 0 and sum(weights.values()) > 0):
            raise ValueError(f"weights must not be negative and need a positive sum, got {weights}.")
        for name, fields in members.items():
            if not name or "." in name:  # members are modules, and a dot would part their names
                raise ValueError(f"the name of a member must not be empty or hold a dot, got {name!r}.")
            get_family(fields.get("model_type", ""))  # its error lists the families that there are

    @property
    def member_configs(self) -> dict[str, PreTrainedConfig]:
        """The configuration of each member, with the label map of the ensemble."""
        labels = {"id2label": self.id2label, "label2id": self.label2id}
        return {
            name: get_family(fields["model_type"]).load("configuration").from_dict({**fields, **labels})
            for name, fields in (self.members or {}).items()
        }

    @property
    def citation(self) -> str:
        """BibTeX of the methods of all members."""
        return "\n\n".join(dict.fromkeys(config.citation for config in self.member_configs.values()))


__all__ = ["FUSIONS", "SkeletonEnsembleConfig"]
