"""Runs a function in two gloo processes and collects what each returns."""

import socket
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as multiprocessing


def run_in_two(function: Callable[[int], Any]) -> dict[int, Any]:
    """Call a function of a module, with its rank, in two processes that form a group; return the results by rank."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    results = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(member, args=(port, function, results), nprocs=2)
    return dict(results.get() for _ in range(2))


def member(rank: int, port: int, function: Callable[[int], Any], results: Any) -> None:
    """One of the processes."""
    torch.distributed.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=2)
    results.put((rank, function(rank)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
