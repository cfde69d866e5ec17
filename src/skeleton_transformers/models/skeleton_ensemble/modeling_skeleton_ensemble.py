"""Several recognisers as one model: streams that were trained separately say together what is done (2S: joint and bone; 3S: and motion).

```python
from skeleton_transformers import SkeletonEnsembleFeatureExtractor, SkeletonEnsembleForActionRecognition

folders = {"joint": "runs/joint", "motion": "runs/motion", "bone": "runs/bone"}
model = SkeletonEnsembleForActionRecognition.from_members(folders, weights={"joint": 0.4, "motion": 0.2, "bone": 0.4})
extractor = SkeletonEnsembleFeatureExtractor.from_members(folders)
model(**extractor(["take.skeleton"], return_tensors="pt")).logits
```
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.generic import can_return_tuple

from ...modeling_loading import CheckedLoading
from ...modeling_outputs import ActionRecognitionOutput
from ...modeling_tasks import IGNORED_LABEL, check_labels
from ..families import get_family
from .configuration_skeleton_ensemble import SkeletonEnsembleConfig
from .feature_extraction_skeleton_ensemble import name_members


@dataclass
class SkeletonEnsembleOutput(ActionRecognitionOutput):
    """Output of [`SkeletonEnsembleForActionRecognition`].

    Args:
        logits: `(batch, num_labels)`: softmax of them are the probabilities. With `fusion="softmax"` they are the logarithms of the
            mean probabilities.
        member_logits: `(batch, members, num_labels)`, what each member says, in the order of their names.
    """

    member_logits: torch.Tensor | None = None


class SkeletonEnsembleForActionRecognition(CheckedLoading, PreTrainedModel):
    """The weighted mean of what its members say, each of them a recogniser of any family.

    It is saved as one model, with one file of weights, and loads like any other; `model.members["joint"]` is the recogniser of a
    stream. The inputs come from [`SkeletonEnsembleFeatureExtractor`].
    """

    config: SkeletonEnsembleConfig
    base_model_prefix = ""
    main_input_name = "keypoints"
    input_modalities = ("time",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flex_attn = True
    accepts_loss_kwargs = False

    def __init__(self, config: SkeletonEnsembleConfig):
        super().__init__(config)
        if not config.members:
            raise ValueError("an ensemble needs at least one member, but config.members is empty; see from_members")
        self.num_labels = config.num_labels
        self.members = nn.ModuleDict()
        for name, member_config in config.member_configs.items():
            member_class = get_family(member_config.model_type).load("action_recognition")
            if member_class is None:
                raise ValueError(f"member {name!r}: the family {member_config.model_type!r} has no recogniser")
            if member_class._supports_sdpa:  # else there is no attention to choose
                member_config._attn_implementation = config._attn_implementation
            self.members[name] = member_class(member_config)
        self.post_init()

    @classmethod
    def from_members(
        cls,
        members: Mapping[str, str | Path | PreTrainedModel] | Sequence[str | Path],
        weights: Mapping[str, float] | Sequence[float] | None = None,
        fusion: str = "logits",
        **kwargs: Any,
    ) -> "SkeletonEnsembleForActionRecognition":
        """Puts trained recognisers together.

        Args:
            members: folder or Hub id of each member, or the model itself, by name; of a list, the last part of each folder is its name.
            weights: weight of each member, by name or in the order of `members`; default equal.
            fusion: what is averaged, `"logits"` or `"softmax"`.
            **kwargs: passed to `from_pretrained` of the members (`token`, `cache_dir`).

        Raises:
            ValueError: members know other classes, or there are not as many weights as members.
        """
        if weights is not None and not isinstance(weights, Mapping):
            names = list(name_members(members))
            if len(weights) != len(names):
                raise ValueError(f"the members {', '.join(names)} need {len(names)} weights, got {list(weights)}")
            weights = dict(zip(names, weights, strict=True))
        models: dict[str, PreTrainedModel] = {}
        for name, member in name_members(members).items():
            if not isinstance(member, PreTrainedModel):
                from ..auto import AutoModelForActionRecognition  # it registers this class, too

                member = AutoModelForActionRecognition.from_pretrained(member, **kwargs)
            models[name] = member
        if not models:
            raise ValueError("an ensemble needs at least one member, got none")
        (first, reference), *others = models.items()
        for name, model in others:
            if model.config.id2label != reference.config.id2label:
                raise ValueError(
                    f"{first!r} and {name!r} know other classes, or the same in another order; fuse models that were fine-tuned for "
                    "the same corpus"
                )
        config = SkeletonEnsembleConfig(
            members={name: model.config.to_diff_dict() for name, model in models.items()},
            fusion=fusion,
            weights=None if weights is None else {name: float(weight) for name, weight in weights.items()},
            id2label=reference.config.id2label,
            label2id=reference.config.label2id,
        )
        ensemble = cls(config)
        for name, model in models.items():
            ensemble.members[name].load_state_dict(model.state_dict())
        return ensemble.to(reference.dtype).eval()

    @can_return_tuple
    def forward(
        self,
        keypoints: Sequence[torch.Tensor],
        frame_mask: Sequence[torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
    ) -> SkeletonEnsembleOutput:
        """Scores the classes of each sample.

        Args:
            keypoints: what each member takes, in the order of their names: float `(batch, persons, frames, joints, channels)`.
            frame_mask: the same of the masks: bool `(batch, persons, frames)`.
            labels: int64 `(batch,)`, in `[0, num_labels)`; -100 leaves a sample out of the loss.

        Raises:
            ValueError: there is not one batch for each member, or a label is not one of the model's classes.
        """
        if isinstance(keypoints, torch.Tensor) or len(keypoints) != len(self.members):
            found = "one tensor" if isinstance(keypoints, torch.Tensor) else f"{len(keypoints)} of them"
            raise ValueError(
                f"keypoints must be a list with a batch for each of the members {', '.join(self.members)}, got {found}; "
                "SkeletonEnsembleFeatureExtractor makes it from recordings"
            )
        masks = [None] * len(keypoints) if frame_mask is None else frame_mask
        scores = torch.stack(
            [
                member(values, mask, return_dict=True).logits
                for member, values, mask in zip(self.members.values(), keypoints, masks, strict=True)
            ],
            dim=1,
        )
        logits = self.fuse(scores)
        loss = None
        if labels is not None:
            check_labels(labels, self.config)
            loss = nn.functional.cross_entropy(logits.float(), labels.to(logits.device), ignore_index=IGNORED_LABEL)
        return SkeletonEnsembleOutput(loss=loss, logits=logits, member_logits=scores)

    def fuse(self, member_logits: torch.Tensor) -> torch.Tensor:
        """Logits of the ensemble, `(batch, num_labels)`, from those of its members, `(batch, members, num_labels)`."""
        shares = self.config.weights or {}  # the configuration has one for each
        weights = member_logits.new_tensor([shares[name] for name in self.members])[:, None]
        weights = weights / weights.sum()
        if self.config.fusion == "logits":
            return (weights * member_logits).sum(dim=1)
        return torch.logsumexp(member_logits.log_softmax(dim=-1) + weights.log(), dim=1)


__all__ = ["SkeletonEnsembleForActionRecognition", "SkeletonEnsembleOutput"]
