"""The command that writes the cards of the models we would publish."""

import json
import runpy
from pathlib import Path

from huggingface_hub import ModelCard


GENERATE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "model_cards" / "generate.py"))


def test_results_come_from_finished_runs_only(tmp_path):
    for seed, accuracy in enumerate((0.80, 0.84)):
        folder = tmp_path / "runs" / f"hitrs_ntu60_xsub_joint_recognition_seed{seed}"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"top1_accuracy": accuracy, "seed": seed}))
    arguments = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path)]
    assert GENERATE["main"]([*arguments, "--only", "hitrs_ntu60_x*_recognition", "hitrs_demo*", "hitrs_pku*"]) >= 6
    card = (tmp_path / "hitrs_ntu60_xsub_joint_recognition.md").read_text()
    assert "| Top-1 accuracy | 82.00 % ± 2.83 (2 runs) | 86.00 % |" in card and "Terms of the data: NTU RGB+D" in card
    other = (tmp_path / "hitrs_ntu60_xview_joint_recognition.md").read_text()
    assert "## Results" not in other and "Not trained or measured yet" in other
    assert not ModelCard.load(tmp_path / "hitrs_ntu60_xview_joint_recognition.md").data.eval_results
    assert not list(tmp_path.glob("hitrs_demo*"))
    assert str(tmp_path) not in card + other


def test_card_of_an_objective_is_about_the_encoder_that_it_leaves(tmp_path):
    names = ["mcc_stgcn_nw_ucla_pretrain", "stgcn_nw_ucla_scratch", "hitrs_nw_ucla_scratch", "mamp_demo_pretrain"]
    GENERATE["main"](["--runs", str(tmp_path / "runs"), "--output", str(tmp_path), "--only", *names])
    # A Hi-TRS without pre-training is a baseline, and recordings that the package makes are for trying it.
    assert sorted(path.stem for path in tmp_path.glob("*.md")) == names[:2]
    assert "STGCNModel, pre-trained with MCCForPreTraining" in (tmp_path / f"{names[0]}.md").read_text()
    assert "STGCNForActionRecognition" in (tmp_path / f"{names[1]}.md").read_text()
