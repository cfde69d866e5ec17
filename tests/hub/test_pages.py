"""What the pages promise a user of the Hub, as she pastes it: a process of her own that knows the package and a Hub, nothing else."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np

from skeleton_transformers import HiTRSConfig, HiTRSForActionRecognition, SkeletonFeatureExtractor, read_skeletons


REPOSITORY = Path(__file__).resolve().parents[2]


def python_block(page, *words):
    """The one code block of a page that holds all words."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
    (block,) = [block for block in blocks if all(word in block for word in words)]
    return block


def put_on_hub(hub, folder, repository):
    """As if somebody else had published the folder."""
    hub.files[repository] = {file.name: file.read_bytes() for file in folder.iterdir()}
    hub.private[repository] = False


def test_the_blocks_of_readme_and_hub_page_run_as_pasted(hub, run_client, save_model, fixtures, tmp_path):
    save_model(tmp_path / "demo_output" / "encoder", role="encoder")
    SkeletonFeatureExtractor(num_frames=32).save_pretrained(tmp_path / "demo_output" / "encoder")
    put_on_hub(hub, tmp_path / "demo_output" / "encoder", "owner/hitrs-ntu60")
    save_model(tmp_path / "recogniser")
    put_on_hub(hub, tmp_path / "recogniser", "owner/hitrs-ntu60-recognition")
    shutil.copy(fixtures / "S001C001P001R001A050.skeleton", tmp_path / "take.skeleton")
    readme = python_block("README.md", "demo_output/encoder")
    page = python_block("docs/hub.md", "owner/hitrs-ntu60-recognition")
    shapes = "print(tuple(inputs['keypoints'].shape), tuple(encoder(**inputs).pooler_output.shape))"
    code = f"import os; os.chdir({str(tmp_path)!r})\n{readme}\n{shapes}\n{page}\nprint(recognise('take.skeleton')[0])"
    result = run_client(code)
    assert result.returncode == 0, result.stderr
    sizes, answer = result.stdout.strip().splitlines()[-2:]
    assert sizes == "(2, 2, 32, 25, 3) (2, 128)" and "(2, 2, 32, 25, 3)" in readme and "(2, 128)" in readme
    assert re.fullmatch(r"\{'label': '(background|walk|sit down)', 'score': 0\.\d+\}", answer)


_WORK = """
import json, sys
import numpy as np, torch
from transformers import Trainer, TrainingArguments, pipeline
import skeleton_transformers
from skeleton_transformers import AutoModelForActionRecognition, SkeletonFeatureExtractor

ntu, mediapipe, output = sys.argv[1:]
print(json.dumps(pipeline("skeleton-action-recognition", model="owner/ntu")(ntu)))
print(json.dumps(pipeline("skeleton-action-recognition", model="owner/phone")(mediapipe)))

model = AutoModelForActionRecognition.from_pretrained("owner/ntu")
extractor = SkeletonFeatureExtractor.from_pretrained("owner/ntu")
before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
takes = np.random.default_rng(0).normal(size=(4, 2, 30, 25, 3))
inputs = extractor(list(takes), return_tensors="pt")
items = [{"keypoints": k, "frame_mask": m, "labels": i % 3} for i, (k, m) in enumerate(zip(*inputs.values()))]
arguments = TrainingArguments(output, max_steps=2, per_device_train_batch_size=2, learning_rate=1e-2, report_to="none",
                              use_cpu=True, disable_tqdm=True, save_strategy="no")
Trainer(model, arguments, train_dataset=items).train()
assert all(not torch.equal(before[name], tensor) for name, tensor in model.state_dict().items() if name.startswith("classifier"))
model.eval()
model.push_to_hub("me/tuned")
extractor.push_to_hub("me/tuned")

again = AutoModelForActionRecognition.from_pretrained("me/tuned")
for name, tensor in model.state_dict().items():
    assert torch.equal(tensor, again.state_dict()[name]), name
with torch.no_grad():
    tuned, reloaded = (one(**extractor([ntu], return_tensors="pt")).logits for one in (model, again))
    assert torch.equal(tuned, reloaded)
print(json.dumps(pipeline("skeleton-action-recognition", model="me/tuned")(ntu)))
print(json.dumps(tuned[0].softmax(-1).tolist()))
"""


def test_load_predict_train_push_and_load_again(hub, run_client, save_model, fixtures, tmp_path):
    ntu = fixtures / "S001C001P001R001A050.skeleton"
    save_model(tmp_path / "ntu")
    put_on_hub(hub, tmp_path / "ntu", "owner/ntu")
    points = np.random.default_rng(0).uniform(0.2, 0.8, (30, 33, 2))
    frames = [[{"x": x, "y": y, "z": 0.0, "visibility": 0.9} for x, y in frame.tolist()] for frame in points]
    (tmp_path / "video.json").write_text(json.dumps({"fps": 25, "frames": frames}))
    channels = read_skeletons(tmp_path / "video.json").keypoints.shape[-1]
    layout = {"layout": "mediapipe33", "num_channels": channels}
    labels = {0: "wave", 1: "clap"}
    config = HiTRSConfig.from_preset("tiny", id2label=labels, label2id={v: k for k, v in labels.items()}, **layout)
    HiTRSForActionRecognition(config).save_pretrained(tmp_path / "phone")
    SkeletonFeatureExtractor(**layout).save_pretrained(tmp_path / "phone")
    put_on_hub(hub, tmp_path / "phone", "owner/phone")
    arguments = (str(ntu), str(tmp_path / "video.json"), str(tmp_path / "trainer"))
    result = run_client(None, sys.executable, "-c", _WORK, *arguments)
    assert result.returncode == 0, result.stderr
    ntu_answer, phone_answer, tuned_answer, scores = (
        json.loads(line) for line in result.stdout.splitlines() if line.startswith("[")
    )
    assert {one["label"] for one in ntu_answer} == {"background", "walk", "sit down"}
    assert {one["label"] for one in phone_answer} == {"wave", "clap"}
    assert tuned_answer != ntu_answer
    np.testing.assert_allclose([one["score"] for one in tuned_answer], sorted(scores, reverse=True), rtol=1e-5)
    assert {"model.safetensors", "config.json", "preprocessor_config.json"} <= set(hub.files["me/tuned"])
    for name, content in hub.files["me/tuned"].items():
        assert str(tmp_path).encode() not in content and b"annalena" not in content, name
