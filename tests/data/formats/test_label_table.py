import json

import pytest

from skeleton_transformers.data.formats import read_label_table, read_layout_file
from skeleton_transformers.data.formats.label_table import LabelRow
from skeleton_transformers.skeletons import get_layout


def test_reads_the_table(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "\ufefffile, label ,subject,camera,split,start,end\n"
        'a/1.npy,"lift, both hands",Zoe,2,train,,\n'
        "a/2.npy,walk,Ann,,Val,10,50\n"
        "a/2.npy,,,1,TEST,50,\n",
        encoding="utf-8",
    )
    assert read_label_table(path) == [
        LabelRow("a/1.npy", "lift, both hands", 2, 2, "train"),
        LabelRow("a/2.npy", "walk", 1, -1, "validation", 10, 50),
        LabelRow("a/2.npy", "", -1, 1, "test", 50, -1),
    ]
    path.write_text("file,label,subject\n1.npy,walk,7\n")
    assert read_label_table(path) == [LabelRow("1.npy", "walk", 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv: its first line is ''; it must name the column 'file' and may name label, subject"),
        ("name,label\nx,y\n", "first line is 'name,label'.*not 'name'"),
        ("file,label,person\nx,y,z\n", "not 'person'"),
        ("file,label\n", "no row below the names of the columns"),
        ("file,label\na.npy,walk\n,run\n", "labels.csv, line 3: no file given"),
        ("file,start\na.npy,ten\n", "line 2: start is 'ten', expected a number from 0"),
        ("file,camera\na.npy,-1\n", "line 2: camera is '-1'"),
        (
            "file,start,end\na.npy,10,10\n",
            r"line 2: end 10 is not after start 10 \(frames start .. end - 1 are used\)",
        ),
        ("file,split\na.npy,dev\n", "line 2: split is 'dev', expected train, validation, test or nothing"),
    ],
)
def test_tables_with_faults(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_label_table(tmp_path / "labels.csv")


def test_reads_layouts(tmp_path):
    path = tmp_path / "layout.json"
    path.write_text(json.dumps({"name": "mine", "joints": ["hip", "head"], "parents": [0, 0]}))
    layout = read_layout_file(path)
    assert layout.name == "mine" and layout.joints == ("hip", "head") and layout.parents == (0, 0)
    assert read_layout_file("coco17") == get_layout("coco17")
    with pytest.raises(ValueError, match="layout 'nowhere.json' is neither a JSON file nor one of ntu25"):
        read_layout_file("nowhere.json")
    for text in (
        "{",
        "[1]",
        '{"name": "mine", "joints": ["hip", "head"]}',
        '{"name": "m", "joints": ["a"], "parents": [5]}',
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match="layout.json: not a joint layout .*; expected .*parents"):
            read_layout_file(path)
