"""Where a model runs, and in which numbers, unless somebody says otherwise."""

from __future__ import annotations

import torch

from ..errors import InputError


def chosen_device(device: str | torch.device | None) -> torch.device:
    """Return a usable device, by default a GPU if there is one. Raise `InputError` for one that is not here."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if device is None else usable_device(device)


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device that is here. Raise `InputError` for another one."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f'device={str(device)!r} cannot be used here. Give "cpu", or "cuda" with a GPU.') from error
    return found


def default_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype that suits a device."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16
