"""A group norm that does not see padding, and a mean over valid steps.

Shape letters: B batch, T steps, C channels, H hidden.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def masked_group_norm(hidden_BCT: Tensor, norm: nn.GroupNorm, steps_B: Tensor) -> Tensor:
    """Normalise each clip over its valid steps only, as it would be alone; padded steps become 0.

    Group norm over the padding moves a prediction by 6e-3; this way it stays within rounding (4e-9).
    """
    if torch.compiler.is_exporting():  # a graph has no loop over clips: equal within rounding
        return _group_norm_in_one(hidden_BCT, norm, steps_B)
    num_steps = hidden_BCT.shape[2]
    steps = steps_B.tolist()
    if min(steps) == num_steps:
        return norm(hidden_BCT)
    normed = [norm(clip_CT[None, :, :valid]) for clip_CT, valid in zip(hidden_BCT, steps, strict=True)]
    return torch.cat([functional.pad(clip_1CT, (0, num_steps - clip_1CT.shape[2])) for clip_1CT in normed])


def _group_norm_in_one(hidden_BCT: Tensor, norm: nn.GroupNorm, steps_B: Tensor) -> Tensor:
    """Do the same for all clips at once; every channel is a group."""
    assert norm.num_groups == hidden_BCT.shape[1]
    mask_B1T = step_mask(steps_B, hidden_BCT.shape[2])[:, None].to(hidden_BCT.dtype)
    steps_B11 = steps_B[:, None, None].to(hidden_BCT.dtype)
    centred_BCT = (hidden_BCT - (hidden_BCT * mask_B1T).sum(dim=2, keepdim=True) / steps_B11) * mask_B1T
    variance_BC1 = centred_BCT.square().sum(dim=2, keepdim=True) / steps_B11
    normed_BCT = centred_BCT * torch.rsqrt(variance_BC1 + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
    return normed_BCT * mask_B1T


def step_mask(steps_B: Tensor, num_steps: int) -> Tensor:
    """Return mask_BT, true where a step is valid."""
    return torch.arange(num_steps, device=steps_B.device) < steps_B[:, None]


def masked_mean(hidden_BTH: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the float32 mean over valid steps, B x H."""
    with torch.autocast(hidden_BTH.device.type, enabled=False):
        weights_BT = mask_BT / mask_BT.sum(dim=1, keepdim=True)
        return torch.bmm(weights_BT[:, None], hidden_BTH.float())[:, 0]
