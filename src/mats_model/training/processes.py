"""One process, or one of several that accelerate launched on as many devices."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch

from mats_model.errors import UsageError

# the others wait while the first one embeds all texts, evaluates or saves, and NCCL alone gives up after ten minutes.
# A process that dies is noticed at once by the launcher, which ends the rest
PATIENCE = timedelta(hours=24)


class Crew:
    """All processes of a run, seen from this one; the first, of rank 0, evaluates, saves and speaks."""

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.accelerator: Any = None
        if self.size > 1:
            try:
                from accelerate import Accelerator, InitProcessGroupKwargs
            except ImportError:
                raise UsageError("several processes need accelerate: pip install 'mats[train]'.") from None
            self.accelerator = Accelerator(
                cpu=not torch.cuda.is_available(), kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)]
            )
        self.rank = self.accelerator.process_index if self.accelerator else 0

    @property
    def device(self) -> str:
        """Of this process."""
        return str(self.accelerator.device) if self.accelerator else "auto"

    def any(self, here: bool) -> bool:
        """Whether it is so in one of them, the same answer in all; they wait for each other."""
        if not self.accelerator:
            return here
        return bool(self.accelerator.reduce(torch.tensor(float(here), device=self.accelerator.device), "sum") > 0)

    def wait(self) -> None:
        """For the others."""
        if self.accelerator:
            self.accelerator.wait_for_everyone()
