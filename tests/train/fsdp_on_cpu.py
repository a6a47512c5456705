"""`expo` under FSDP2 on a CPU, as `accelerate launch` starts it: accelerate takes FSDP for GPUs alone, torch does not.

usage: fsdp_on_cpu.py COMMAND ..., in the folder of the repository
"""

from __future__ import annotations

import sys
from typing import Any

from accelerate import DistributedType
from accelerate.state import AcceleratorState

from expo.cli import main
from expo.train import plan, run

begin = AcceleratorState.__init__


def begin_with_fsdp(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
    if getattr(self, "fsdp_plugin", None) is not None:
        # Each state that is asked for takes the type of processes anew.
        self.distributed_type = DistributedType.FSDP


AcceleratorState.__init__ = begin_with_fsdp
plan.check_devices = run.check_devices = lambda args: None
if __name__ == "__main__":
    sys.exit(main())
