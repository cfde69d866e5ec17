"""Pictures of skeleton sequences."""

from .rendering import render_frames, render_gif, render_strip


__all__ = ["render_frames", "render_gif", "render_strip"]
