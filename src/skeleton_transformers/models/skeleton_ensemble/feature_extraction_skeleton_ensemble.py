"""Feature extractor of an ensemble: that of each member, in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.feature_extraction_utils import BatchFeature

from ...feature_extraction_skeleton import SkeletonFeatureExtractor
from ...skeletons import SkeletonLayout, convert_layout


if TYPE_CHECKING:
    from ...data.recordings import SkeletonRecording


def name_members(members: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    """Members by name; those of a list are called as the last part of their folder or Hub id.

    Raises:
        ValueError: two have the same name.
    """
    if isinstance(members, str | os.PathLike):
        raise ValueError(f"an ensemble is made of a list of members, or of a dictionary; got the one name {members!r}")
    if isinstance(members, Mapping):
        return dict(members)
    names = [Path(member).name.replace(".", "_") for member in members]
    if len(set(names)) < len(names):
        raise ValueError(f"members need different names, got {names}; pass a dictionary of name and folder")
    return dict(zip(names, members, strict=True))


class SkeletonEnsembleFeatureExtractor(SkeletonFeatureExtractor):
    """Turns recordings into the inputs of [`SkeletonEnsembleForActionRecognition`]: what each member takes, in the order of their names.

    It is called like a [`SkeletonFeatureExtractor`]. `keypoints` and `frame_mask` of the result are lists with a batch for each
    member, and so are what `normalize` and `apply_stream` return. Arrays are in the layout of the first member; members of another
    layout get their joints by name.

    Args:
        members: name of each member, and its feature extractor or the settings of it.
    """

    def __init__(self, members: Mapping[str, SkeletonFeatureExtractor | Mapping[str, Any]], **kwargs: Any):
        if not members:
            raise ValueError("an ensemble needs at least one member, got none")
        extractors = {
            name: member if isinstance(member, SkeletonFeatureExtractor) else SkeletonFeatureExtractor(**member)
            for name, member in sorted(members.items())
        }
        first = next(iter(extractors.values()))
        super().__init__(layout=first.skeleton_layout, num_channels=first.num_channels, **kwargs)
        self.members = extractors

    @classmethod
    def from_members(
        cls, members: Mapping[str, str | Path] | Sequence[str | Path], **kwargs: Any
    ) -> SkeletonEnsembleFeatureExtractor:
        """The feature extractors that were saved beside trained models; the arguments are those of the model's `from_members`."""
        return cls(
            {
                name: SkeletonFeatureExtractor.from_pretrained(folder, **kwargs)
                for name, folder in name_members(members).items()
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings, JSON-able, as `save_pretrained` writes them."""
        members = {name: member.to_dict() for name, member in self.members.items()}
        return {"members": members, "feature_extractor_type": type(self).__name__}

    def normalize(  # type: ignore[override]  # one array for each member
        self, keypoints: Any, frame_mask: Any = None, source_frame_rate: float | None = None, name: str = "sequence 0"
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """As `SkeletonFeatureExtractor.normalize`, once for each member."""
        found = [
            member.normalize(
                self._in_layout(keypoints, member.skeleton_layout, name), frame_mask, source_frame_rate, name
            )
            for member in self.members.values()
        ]
        return [values for values, _ in found], [mask for _, mask in found]

    def apply_stream(self, keypoints: Any, frame_mask: Any) -> list[np.ndarray]:  # type: ignore[override]
        """The stream of each member, from what `normalize` gives."""
        members = self.members.values()
        return [member.apply_stream(*pair) for member, *pair in zip(members, keypoints, frame_mask, strict=True)]

    def pad(self, samples: Sequence[tuple[Any, Any]], return_tensors: str | None = None) -> BatchFeature:
        """Pads the sequences of each member to the most persons and frames among them."""
        batches = [
            member.pad([(values[number], mask[number]) for values, mask in samples], return_tensors)
            for number, member in enumerate(self.members.values())
        ]
        return BatchFeature({name: [batch[name] for batch in batches] for name in self.model_input_names})

    def read(self, recording: SkeletonRecording) -> tuple[Any, Any]:
        """The recording itself, for `normalize`: each member finds its joints by name.

        Raises:
            RecordingError: joints, channels or units do not fit a member.
        """
        for member in self.members.values():
            member.read(recording)
        return recording, None

    def check_model(self, config: Any) -> None:
        """Raises a `ValueError` if the members of a model are others, or one takes other joints or channels."""
        configs = getattr(config, "member_configs", {})
        if list(configs) != list(self.members):
            raise ValueError(
                f"the feature extractor is for the members {', '.join(self.members)}, but the model has "
                f"{', '.join(configs) or 'none'}; take the one that was saved with the model"
            )
        for name, member in self.members.items():
            member.check_model(configs[name])

    def _in_layout(self, sequence: Any, layout: SkeletonLayout, name: str) -> Any:
        """An array with the joints of a layout; recordings and paths stay, for they know their joints."""
        is_array = not (isinstance(sequence, str | os.PathLike) or hasattr(sequence, "person_ids"))
        if not is_array or layout.joints == self.skeleton_layout.joints:
            return sequence
        values, found = convert_layout(np.asarray(sequence, dtype=np.float32), self.skeleton_layout, layout)
        if not found.all():
            missing = [joint for joint, there in zip(layout.joints, found, strict=True) if not there]
            raise ValueError(
                f"{name}: a member takes the layout {layout.name!r}, but arrays in the layout {self.skeleton_layout.name!r} lack "
                f"{', '.join(missing)}; pass a recording that has them"
            )
        return values


__all__ = ["SkeletonEnsembleFeatureExtractor", "name_members"]
