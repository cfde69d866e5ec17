"""Task heads, written once for all encoders."""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.generic import can_return_tuple

from .modeling_outputs import ActionRecognitionOutput


# Label that cross-entropy leaves out.
IGNORED_LABEL = -100


class ActionRecognitionHead:
    """Linear classifier on the `pooler_output` of an encoder (Hi-TRS: Chen et al., ECCV 2022, Sec. 4.2).

    Put it in front of the base class of a family and name the encoder:

    ```python
    class HiTRSForActionRecognition(ActionRecognitionHead, HiTRSPreTrainedModel):
        encoder_class = HiTRSModel
    ```

    The encoder is kept under `base_model_prefix`, takes `keypoints` and `frame_mask`, and returns a `pooler_output`
    of width `config.hidden_size`.
    """

    encoder_class: ClassVar[type[PreTrainedModel]]
    base_model_prefix: str
    # The loss is a plain mean; without this the Trainer takes it for a sum that it has to normalise itself.
    accepts_loss_kwargs = False

    def __init__(self, config: Any):
        super().__init__(config)  # type: ignore[call-arg]  # the next class is the family's PreTrainedModel
        self.num_labels = config.num_labels
        setattr(self, self.base_model_prefix, self.encoder_class(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()  # type: ignore[attr-defined]

    @can_return_tuple
    def forward(
        self,
        keypoints: torch.Tensor,
        frame_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> ActionRecognitionOutput:
        """Scores the classes of each sample.

        Args:
            keypoints: float `(batch, persons, frames, joints, channels)`.
            frame_mask: bool `(batch, persons, frames)`, True where that person is there.
            labels: int64 `(batch,)`, in `[0, num_labels)`; -100 leaves a sample out of the loss.
            **kwargs: passed to the encoder (`output_hidden_states`, `output_attentions`).

        Raises:
            ValueError: a label is not one of the model's classes.
        """
        encoder = getattr(self, self.base_model_prefix)
        outputs = encoder(keypoints, frame_mask, return_dict=True, **kwargs)
        logits = self.classifier(outputs.pooler_output)
        loss = None
        if labels is not None:
            check_labels(labels, self.config)  # type: ignore[attr-defined]
            loss = nn.functional.cross_entropy(logits.float(), labels.to(logits.device), ignore_index=IGNORED_LABEL)
        return ActionRecognitionOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


def check_labels(labels: torch.Tensor, config: Any) -> None:
    """Raises a ValueError that names the first label outside the label map of `config`."""
    if torch.compiler.is_compiling():
        return
    outside = labels[((labels < 0) | (labels >= config.num_labels)) & (labels != IGNORED_LABEL)]
    if outside.numel():
        names = [config.id2label.get(index, str(index)) for index in (0, config.num_labels - 1)]
        raise ValueError(
            f"labels contain {outside[0].item()}, but the model has {config.num_labels} classes, 0 ({names[0]!r}) to "
            f"{config.num_labels - 1} ({names[1]!r}). Create the model with the id2label and label2id of your data."
        )


__all__ = ["ActionRecognitionHead", "check_labels"]
