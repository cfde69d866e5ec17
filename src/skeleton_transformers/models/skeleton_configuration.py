"""What the configurations of all encoders have in common."""

from typing import Any, ClassVar, TypeVar

from ..skeletons import SkeletonLayout, get_layout


Config = TypeVar("Config", bound="SkeletonConfigMixin")


class SkeletonConfigMixin:
    """Presets by name, and what follows from the layout. Put it in front of `PreTrainedConfig`.

    Attributes:
        presets: name -> fields that differ from the defaults.
        layout: layout of the joints, a name or `SkeletonLayout.to_dict()`.
    """

    presets: ClassVar[dict[str, dict[str, Any]]]
    layout: str | dict[str, Any]

    @classmethod
    def from_preset(cls: type[Config], preset: str, **overrides: Any) -> Config:
        """A configuration by name.

        Args:
            preset: one of `presets`, which the docstring of the class explains.
            **overrides: fields that differ from the preset, such as `layout="coco17"` or `num_labels=60`.

        Raises:
            ValueError: there is no such preset.
        """
        if preset not in cls.presets:
            raise ValueError(f"{cls.__name__} has no preset {preset!r}; presets are {', '.join(cls.presets)}.")
        return cls(**{**cls.presets[preset], **overrides})

    @property
    def skeleton_layout(self) -> SkeletonLayout:
        """The layout itself."""
        return get_layout(self.layout)

    @property
    def num_joints(self) -> int:
        """Joints of the layout."""
        return self.skeleton_layout.num_joints


__all__ = ["SkeletonConfigMixin"]
