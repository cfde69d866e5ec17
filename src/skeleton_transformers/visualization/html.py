"""Skeleton sequences as a web page of one file: played, stopped, stepped through, turned with the mouse. It loads nothing from the net."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..skeletons import SkeletonLayout, get_layout
from .rendering import _PALETTES, _as_sequence, _bone_parts, _target, vertical_axis


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>%(title)s</title>
<style>
  body { margin: 0; font: 15px system-ui, sans-serif; background: #fcfcfa; color: #262a30; }
  main { max-width: 900px; margin: 0 auto; padding: 12px; }
  h1 { font-size: 18px; margin: 4px 0 8px; } canvas { width: 100%%; touch-action: none; cursor: grab; }
  .row { display: flex; gap: 10px; align-items: center; } input[type=range] { flex: 1; }
  #time { min-width: 15em; font-variant-numeric: tabular-nums; } #caption { min-height: 1.4em; font-weight: 600; color: #2171b5; }
</style></head><body><main>
<h1>%(title)s</h1><div id="caption"></div><canvas id="view" width="1200" height="800"></canvas>
<div class="row"><button id="play">pause</button><input id="seek" type="range" min="0" value="0"><span id="time"></span>
<label>speed <select id="speed"><option>0.25</option><option>0.5</option><option selected>1</option><option>2</option></select></label></div>
<p>Drag to turn, scroll to zoom, arrow keys to step.</p>
</main><script type="application/json" id="data">%(data)s</script><script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("view"), pen = canvas.getContext("2d");
const seek = document.getElementById("seek"), play = document.getElementById("play");
let frame = 0, playing = true, azimuth = 0, elevation = data.flat ? 0 : 0.17, zoom = 1, last = performance.now(), owed = 0;
seek.max = data.frames - 1;
function project(p) {
  let [x, y, z] = [p[0] - data.middle[0], p[1] - data.middle[1], p[2] - data.middle[2]];
  const ca = Math.cos(azimuth), sa = Math.sin(azimuth), ce = Math.cos(elevation), se = Math.sin(elevation);
  [x, z] = [ca * x + sa * z, ca * z - sa * x];
  [y, z] = [ce * y - se * z, ce * z + se * y];
  const scale = zoom * 0.85 * Math.min(canvas.width, canvas.height) / data.size;
  return [canvas.width / 2 + scale * x, canvas.height / 2 - scale * y, z];
}
function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const bones = [];
  data.people.forEach((person, who) => {
    const pose = person[frame];
    if (!pose) return;
    const points = pose.map(p => p && project(p));
    for (const [a, b, part] of data.bones)
      if (points[a] && points[b]) bones.push([points[a], points[b], data.colours[who %% data.colours.length][part]]);
    points.forEach(p => { if (p) bones.push([p, p, data.colours[who %% data.colours.length][0]]); });
  });
  bones.sort((a, b) => a[0][2] + a[1][2] - b[0][2] - b[1][2]);
  pen.lineCap = "round";
  for (const [a, b, colour] of bones) {
    pen.strokeStyle = colour; pen.lineWidth = a === b ? 11 : 7;
    pen.beginPath(); pen.moveTo(a[0], a[1]); pen.lineTo(b[0], b[1]); pen.stroke();
  }
  seek.value = frame;
  document.getElementById("time").textContent = `frame ${frame} of ${data.frames}, ${(frame / data.rate).toFixed(2)} s`;
  document.getElementById("caption").textContent = data.captions[frame] || "";
}
function tick(now) {
  owed += (now - last) / 1000 * data.rate * Number(document.getElementById("speed").value);
  last = now;
  if (playing && owed >= 1) { frame = (frame + Math.floor(owed)) %% data.frames; draw(); }
  owed %%= 1;
  requestAnimationFrame(tick);
}
function stop(to) { playing = false; play.textContent = "play"; frame = (to + data.frames) %% data.frames; draw(); }
play.onclick = () => { playing = !playing; play.textContent = playing ? "pause" : "play"; };
seek.oninput = () => stop(Number(seek.value));
document.onkeydown = e => { if (e.key === "ArrowRight") stop(frame + 1); if (e.key === "ArrowLeft") stop(frame - 1); };
canvas.onpointermove = e => {
  if (!e.buttons || data.flat) return;
  azimuth += e.movementX * 0.01; elevation = Math.max(-1.5, Math.min(1.5, elevation + e.movementY * 0.01)); draw();
};
canvas.addEventListener("wheel", e => { e.preventDefault(); zoom *= Math.exp(-e.deltaY * 0.001); draw(); }, { passive: false });
draw(); requestAnimationFrame(tick);
</script></body></html>
"""


def render_html(
    keypoints: Any,
    layout: str | dict | SkeletonLayout,
    path: str | os.PathLike,
    frame_mask: Any = None,
    title: str | None = None,
    frame_rate: float = 30.0,
    caption_per_frame: Sequence[str | None] | None = None,
) -> Path:
    """Writes a sequence as one web page that plays it; 3D sequences can be turned with the mouse.

    Args:
        keypoints: `(persons, frames, joints, channels)` or `(frames, joints, channels)`; 3D in any length unit, or 2 channels with
            rows downwards. A joint that is not finite is not drawn.
        layout: the joint layout, by name or as an object.
        path: file to write, ending in `.html`.
        frame_mask: bool `(persons, frames)`. Default: where any coordinate is not 0.
        title: heading of the page.
        frame_rate: frames per second.
        caption_per_frame: a text for every frame.

    Returns:
        The path.

    Raises:
        ValueError: for another suffix, an impossible frame rate, or arrays that do not fit.
    """
    path = _target(path, ".html")
    if not frame_rate > 0:
        raise ValueError(f"frame_rate must be above 0 frames per second, got {frame_rate}")
    layout = get_layout(layout)
    array, mask = _as_sequence(keypoints, frame_mask, layout)
    flat = array.shape[-1] == 2
    there = np.isfinite(array).all(axis=-1) & mask[..., None]  # (persons, frames, joints)
    if flat:
        points = np.concatenate([array * [1.0, -1.0], np.zeros((*array.shape[:3], 1))], axis=-1)
    else:
        points = _to_screen(array[..., :3], mask, layout)
    seen = points[there] if there.any() else np.zeros((1, 3))
    low, high = seen.min(axis=0), seen.max(axis=0)
    digits = max(0, 4 - int(np.floor(np.log10(max(float((high - low).max()), 1e-9)))))
    captions = [] if caption_per_frame is None else [caption or "" for caption in caption_per_frame]
    if captions and len(captions) != mask.shape[1]:
        raise ValueError(f"caption_per_frame has {len(captions)} texts for {mask.shape[1]} frames")
    data = {
        "frames": mask.shape[1],
        "rate": float(frame_rate),
        "flat": flat,
        "middle": ((low + high) / 2).tolist(),
        "size": max(float((high - low).max()), 1e-6),
        "bones": [list(map(int, bone)) for bone in _bone_parts(layout)],
        "colours": [[f"#{r:02x}{g:02x}{b:02x}" for r, g, b in palette] for palette in _PALETTES],
        "people": [
            [
                [joint.round(digits).tolist() if found else None for joint, found in zip(pose, joints)]
                if present
                else None
                for pose, joints, present in zip(*person)
            ]
            for person in zip(points, there, mask)
        ],
        "captions": captions,
    }
    # "<" could end the script element
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    path.write_text(_PAGE % {"title": html.escape(title or "skeletons"), "data": text}, encoding="utf-8")
    return path


def _to_screen(points: np.ndarray, mask: np.ndarray, layout: SkeletonLayout) -> np.ndarray:
    """Turned so that y is up and z points to the viewer, as the recording camera saw it."""
    axis, sign = vertical_axis(points, mask, layout)
    if axis == 1:  # the camera stands at -z
        return points * ([-1.0, 1.0, -1.0] if sign > 0 else [1.0, -1.0, -1.0])
    # people look along +y, where the viewer stands
    return np.stack([-sign * points[..., 0], sign * points[..., 2], points[..., 1]], axis=-1)


__all__ = ["render_html"]
