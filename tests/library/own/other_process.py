"""One of two processes that train a user's module together; started by test_loops.py."""

import sys

import npas
import torch
import torch.distributed
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from benchmarks.own_modules import MODULES


def main(rank: int, folder: str) -> None:
    """Take two steps on this process's half of each batch, and write what came out."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    module = MODULES["custom-layers"][0]()
    plan = npas.plan(module, budget={"fraction": 0.4}, example=(torch.zeros(2, 20),))
    model = npas.share(module, plan, fit=True)
    wrapped = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    x, y = torch.load(f"{folder}/data.pt")
    for _ in range(2):
        optimizer.zero_grad()
        functional.cross_entropy(wrapped(x[rank::2]), y[rank::2]).backward()
        optimizer.step()
    npas.save(model, f"{folder}/{rank}.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
