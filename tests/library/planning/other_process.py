"""What a second process does: plans, builds, saves, loads. Run it with a folder of its own."""

import json
import sys
from pathlib import Path

import npas
import torch
from npas.spec import ArchitectureSpec, BudgetSpec, NetworkSpec


def network(name):
    return NetworkSpec(name=name, architecture=ArchitectureSpec(name=name))


SINGLE = [("wrn-16-1", 0.4), ("resnet-20", 0.98), ("torchvision:swin_t", 0.9), ("wrn-28-10", 3)]
SEVERAL = [[network("wrn-16-1"), network("resnet-14")]]


def plans():
    """Return the JSON of plans over methods, options, evidence, one and several networks."""
    found = []
    for architecture, fraction in [*SINGLE, *((networks, 0.5) for networks in SEVERAL)]:
        for method in ("block_mix", "soft_sharing"):
            limit = BudgetSpec(fraction=1.0 if method == "soft_sharing" else fraction)
            found.append(npas.plan(architecture, budget=limit, method=method))
    roles = {"stem", "shortcut", "classifier", "transition"}
    found.append(npas.plan("wrn-16-1", budget=150_000, private=roles, max_templates=3))
    return [plan.to_json() for plan in found]


def model():
    """Return a small shared network, a function of its seed."""
    plan = npas.plan("wrn-16-1", budget=BudgetSpec(fraction=0.4))
    return npas.share(npas.build("wrn-16-1", seed=1), plan, seed=1)


EXTRA = {"b": 1, "a": {"d": 2, "c": [3]}}


def main(folder):
    """Read `here` and `x`, write `plans`, `there` and `y`."""
    torch.set_num_threads(1)
    (folder / "plans").write_text(json.dumps(plans()))
    npas.save(model(), folder / "there", extra=EXTRA)
    x = torch.load(folder / "x", weights_only=True)
    loaded = [npas.load(folder / "here"), npas.load(folder / "here", materialise=True)]
    with torch.no_grad():
        torch.save([network(x) for network in loaded], folder / "y")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
