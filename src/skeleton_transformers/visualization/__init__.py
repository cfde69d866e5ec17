"""Pictures of skeleton sequences."""

from .gallery import render_augmentations
from .html import render_html
from .rendering import render_frames, render_gif, render_strip


__all__ = ["render_augmentations", "render_frames", "render_gif", "render_html", "render_strip"]
