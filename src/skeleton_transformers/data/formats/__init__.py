"""Readers of recordings, one file per format. Each raises [`RecordingError`] for a file that cannot be used."""

from .errors import RecordingError
from .gtu_text import read_gtu_text
from .label_table import read_label_table, read_layout_file
from .msr_action3d_text import read_msr_action3d_text
from .ntu_skeleton import NTURecording, read_ntu_skeleton
from .nw_ucla_json import read_nw_ucla_json


__all__ = [
    "NTURecording",
    "RecordingError",
    "read_gtu_text",
    "read_label_table",
    "read_layout_file",
    "read_msr_action3d_text",
    "read_ntu_skeleton",
    "read_nw_ucla_json",
]
