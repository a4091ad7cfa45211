"""Linear layers kept as int8, for answering on a CPU: a token is as fast as its weights can be read, and these are half
of bfloat16's.

W is kept as s * q, a whole number q in -127..127 for each weight and one scale s for each output, so that |W - s q| <=
s / 2. No data is needed.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

# more rows than these, a prompt's, are multiplied faster as they are
_FEW = 24
# the operator reads so many weights of a row at a time, and past its end if they do not come out even
_STEP = 16


@cache
def _packed() -> bool:
    """Whether this build of torch multiplies int8 weights itself."""
    try:
        one = torch.ones(1, 32, dtype=torch.bfloat16)
        made = torch.ops.aten._weight_int8pack_mm(
            one, torch.ones(16, 32, dtype=torch.int8), torch.ones(16, dtype=torch.bfloat16)
        )
        return bool((made == 32).all())
    except (AttributeError, RuntimeError):
        return False


class Int8Linear(nn.Module):
    """x (..., i) -> x W^T + b (..., o), in the precision of x. Cannot be trained."""

    whole: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        # the operator takes rows that lie together, which those of a turned matrix do not
        weight = weight.detach().float().contiguous()
        # rounded first, so that what is rounded again are only the weights
        scale = (weight.abs().amax(1) / 127).clamp(min=1e-12).bfloat16()
        self.register_buffer("whole", (weight / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_features)
        if len(rows) <= _FEW and not self.in_features % _STEP and _packed():
            made = torch.ops.aten._weight_int8pack_mm(rows.bfloat16(), self.whole, self.scale).to(x.dtype)
        else:
            made = F.linear(rows, self.whole.to(x.dtype)) * self.scale.to(x.dtype)
        if self.bias is not None:
            made = made + self.bias.to(x.dtype)
        return made.view(*x.shape[:-1], self.out_features)


def to_int8(module: nn.Module) -> int:
    """Replace every linear layer below `module`; returns how many. An embedding that shares its weights with one stays
    as it is."""
    count = 0
    for name, layer in list(module.named_modules()):
        # GPT-2's layers keep their weights the other way round
        turned = type(layer).__name__ == "Conv1D"
        if not (isinstance(layer, nn.Linear) or turned):
            continue
        weight = layer.weight.T if turned else layer.weight
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, Int8Linear(weight, layer.bias))  # type: ignore[arg-type]
        count += 1
    return count
