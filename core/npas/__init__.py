"""npas: a network and a parameter budget in, a trained network that fits out, in one file.

The public names are resolved on first use, so that importing npas does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npas.arch import build as build
    from npas.arch.graph.declaration import declare as declare
    from npas.delivery.checkpoint import load as load
    from npas.delivery.checkpoint import save as save
    from npas.delivery.exporting import export as export
    from npas.delivery.hub import NpasModel as NpasModel
    from npas.delivery.joining import join as join
    from npas.delivery.profiles import profile as profile
    from npas.folding.conversion import convert as convert
    from npas.folding.fold import fold as fold
    from npas.folding.loops import loops as loops
    from npas.folding.similarity import similarity as similarity
    from npas.jobs.fitting import fit as fit
    from npas.jobs.listener import Listener as Listener
    from npas.jobs.listener import NullListener as NullListener
    from npas.planning.offers import offered as offered
    from npas.planning.planner import plan as plan
    from npas.plans import Plan as Plan
    from npas.plans.comparison import compare as compare
    from npas.plans.evidence import Evidence as Evidence
    from npas.sharing.model import SharedModel as SharedModel
    from npas.sharing.model import share as share
    from npas.sharing.unsharing import unsharing as unsharing
    from npas.spec import ArchitectureSpec as ArchitectureSpec
    from npas.spec import JobSpec as JobSpec
    from npas.spec import NetworkSpec as NetworkSpec
    from npas.train import Command as Command
    from npas.train.recalibration import recalibrate as recalibrate

_OWNERS = {
    "ArchitectureSpec": "npas.spec",
    "NetworkSpec": "npas.spec",
    "Command": "npas.train",
    "Evidence": "npas.plans.evidence",
    "JobSpec": "npas.spec",
    "Listener": "npas.jobs.listener",
    "NullListener": "npas.jobs.listener",
    "Plan": "npas.plans",
    "SharedModel": "npas.sharing.model",
    "build": "npas.arch",
    "compare": "npas.plans.comparison",
    "convert": "npas.folding.conversion",
    "export": "npas.delivery.exporting",
    "NpasModel": "npas.delivery.hub",
    "declare": "npas.arch.graph.declaration",
    "join": "npas.delivery.joining",
    "profile": "npas.delivery.profiles",
    "fit": "npas.jobs.fitting",
    "fold": "npas.folding.fold",
    "load": "npas.delivery.checkpoint",
    "loops": "npas.folding.loops",
    "offered": "npas.planning.offers",
    "plan": "npas.planning.planner",
    "recalibrate": "npas.train.recalibration",
    "save": "npas.delivery.checkpoint",
    "share": "npas.sharing.model",
    "similarity": "npas.folding.similarity",
    "unsharing": "npas.sharing.unsharing",
}

__all__ = list(_OWNERS)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a public name from the module that owns it."""
    if name not in _OWNERS:
        raise AttributeError(f"module 'npas' has no attribute {name!r}")
    return getattr(importlib.import_module(_OWNERS[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_OWNERS)
