"""How the processes of a run come together: ``--processes`` starts them, or ``torchrun`` did.

Either way each finds in the environment which one it is, by the names that torchrun has for it. The
process that the user started is the first; the others are its own command line again, in a process
group of their own, so that Ctrl-C reaches the first alone, which tells them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from training.errors import ConfigError, ProcessLost
from training.precision import FABRIC_NAMES, Resolved

PATIENCE = timedelta(minutes=5)  # with a process that is there and silent, such as one that starts
GRACE_S = 10.0  # for the others to end by themselves


@contextlib.contextmanager
def together(count: int | None) -> Iterator[None]:
    """Be one of ``count`` processes, or of as many as torchrun started.

    Raises:
        ConfigError: torchrun started another number.
        ProcessLost: they did not find each other.
    """
    given = int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else None
    if given and count and count != given:
        raise ConfigError(f"torchrun started {given} processes: leave --processes {count} out")
    others = _start(count) if count and count > 1 and not given else []
    try:
        fabric()
        yield
    except BaseException:
        for other in others:
            other.kill()  # they write nothing; what went wrong here is told once
        raise
    finally:
        _wait(others)
        if dist.is_initialized():
            dist.destroy_process_group()


def fabric(precision: Resolved = "float32") -> Fabric:
    """This process's device and arithmetic; the group is formed where there is one.

    Raises:
        ProcessLost: the other processes were not found.
    """
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    name = FABRIC_NAMES[precision]
    if not dist.is_torchelastic_launched():
        return Fabric(accelerator=accelerator, devices=1, precision=name)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # a banner for each process
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    found = Fabric(
        accelerator=accelerator,
        devices=here,
        num_nodes=everywhere // here,
        strategy=DDPStrategy(timeout=PATIENCE),
        precision=name,
    )
    try:
        found.launch()
    except RuntimeError as error:
        raise ProcessLost(
            f"process {os.environ['RANK']} of {everywhere} did not find the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: start them again"
        ) from error
    return found


def _start(count: int) -> Sequence[subprocess.Popen[bytes]]:
    """Become the first of ``count`` processes, and start the others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "ganymede",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        **_place(0),
    }
    command = [sys.executable, *sys.orig_argv[1:]]
    return [
        subprocess.Popen(
            command, env=os.environ | _place(k), stdin=subprocess.DEVNULL, process_group=0
        )
        for k in range(1, count)
    ]


def _place(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def _wait(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """Until the others have ended; who does not, is ended."""
    for other in others:
        try:
            other.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            other.kill()
            other.wait()
