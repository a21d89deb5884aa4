"""Runs a function in two gloo processes and collects what each returns."""

import multiprocessing
import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing


def run_in_two(function: Callable[[int], Any]) -> dict[int, Any]:
    """Call a function of a module with its rank in two processes that form a group; return the results by rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # Both are forked from a server that has done the slow imports once.
    multiprocessing.set_forkserver_preload(["torch", "torchmetrics"])
    results = multiprocessing.get_context("forkserver").SimpleQueue()
    arguments = (port, function, results)
    torch.multiprocessing.start_processes(member, args=arguments, nprocs=2, start_method="forkserver")
    return dict(results.get() for _ in range(2))


def member(rank: int, port: int, function: Callable[[int], Any], results: Any) -> None:
    """Run in each of the processes."""
    torch.distributed.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=2)
    results.put((rank, function(rank)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
