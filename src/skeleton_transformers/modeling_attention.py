"""Attention written out, masks for every attention implementation, and what a forward pass records: for all families."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out. `query`, `key`, `value`: `(rows, heads, tokens, head_size)`."""
    logits = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        logits = logits + attention_mask
    weights = nn.functional.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def backward_in_float32(attend: Callable) -> Callable:
    """An attention function that leaves half precision where a CPU trains with it.

    There the backward pass of scaled dot-product attention in bfloat16 takes 5 to 15 times as long as in float32 (torch 2.13,
    with AMX), and would turn what autocast gains elsewhere into a loss. The forward pass alone is left as it is.

    Args:
        attend: called as `attend(module, query, key, value, attention_mask, **options)`.
    """

    def attention(
        module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        is_half = query.dtype in (torch.bfloat16, torch.float16)
        if not (is_half and query.device.type == "cpu" and query.requires_grad):
            return attend(module, query, key, value, mask, **options)
        with torch.autocast("cpu", enabled=False):
            context, weights = attend(module, query.float(), key.float(), value.float(), mask, **options)
        return context.to(query.dtype), weights

    return attention


def make_attention_mask(config: Any, allowed: torch.Tensor, num_queries: int, dtype: torch.dtype) -> Any:
    """Turns "who may attend to whom" into what the chosen attention implementation takes.

    Args:
        config: says which implementation is chosen.
        allowed: bool `(1 or rows, 1, 1 or queries, keys)`.
        num_queries: number of queries.
        dtype: of the hidden states.
    """
    implementation = config._attn_implementation
    if implementation == "sdpa":
        return allowed
    if implementation == "flex_attention":
        from torch.nn.attention.flex_attention import create_block_mask

        rows, _, _, num_keys = allowed.shape
        table = allowed.expand(rows, 1, num_queries, num_keys)[:, 0]

        def allows_row(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            return table[row, query, key]

        def allows(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            return table[0, query, key]

        # With one mask for all rows, `row` still counts the rows of the batch.
        function, mask_rows = (allows_row, rows) if rows > 1 else (allows, None)
        return create_block_mask(function, mask_rows, None, num_queries, num_keys, device=str(allowed.device))
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


@dataclass
class LayerRecord:
    """What `output_hidden_states` and `output_attentions` collect."""

    hidden_states: list[torch.Tensor] | None = None
    attentions: list[torch.Tensor] | None = None

    @classmethod
    def make(cls, config: Any, output_hidden_states: bool | None, output_attentions: bool | None) -> "LayerRecord":
        """Decides what is collected, by the arguments of `forward` or else by the configuration.

        Raises:
            ValueError: attention weights are asked of an implementation that does not return them.
        """
        if output_hidden_states is None:
            output_hidden_states = config.output_hidden_states
        if output_attentions is None:
            output_attentions = config.output_attentions
        if output_attentions and config._attn_implementation != "eager":
            raise ValueError(
                f"{config._attn_implementation!r} attention does not return its weights; call "
                "model.set_attn_implementation('eager') for output_attentions=True."
            )
        return cls([] if output_hidden_states else None, [] if output_attentions else None)

    @property
    def is_needed(self) -> bool:
        """Whether anything is collected; if so, all tokens of all layers are computed, in one piece."""
        return self.hidden_states is not None or self.attentions is not None

    def add(self, hidden_states: torch.Tensor, attentions: torch.Tensor | None = None) -> None:
        """Notes the states of a layer, and its weights if it has any."""
        if self.hidden_states is not None:
            self.hidden_states.append(hidden_states)
        if self.attentions is not None and attentions is not None:
            self.attentions.append(attentions)

    def as_fields(self) -> dict[str, Any]:
        """What was collected, as the fields of a model's output; None for what was not asked for."""
        collected = {"hidden_states": self.hidden_states, "attentions": self.attentions}
        return {name: None if states is None else tuple(states) for name, states in collected.items()}


__all__ = ["LayerRecord", "backward_in_float32", "eager_attention_forward", "make_attention_mask"]
