"""How many of the networks of timm and transformers are planned at half their size.

python -m benchmarks.network_libraries --seconds 1800

Networks are taken in an order of chance, so that what time allows is a fair sample. Nothing is
trained, and nothing is built but on the meta device.
"""

import argparse
import json
import random
import time
import warnings
from collections import Counter

import npas
from npas.arch.families import hf, timm
from npas.errors import InfeasibleBudgetError, NpasError
from npas.spec import BudgetSpec


def planned(name: str) -> str:
    """Return what became of a plan: planned, above the budget, or how it was refused."""
    try:
        npas.plan(name, budget=BudgetSpec(fraction=0.5))
    except InfeasibleBudgetError:
        return "the least is more than half"
    except NpasError as error:
        return f"refused: {error.message[:160]}"
    except Exception as error:  # what a library raises is what is looked for
        return f"failed: {type(error).__name__}: {str(error)[:160]}"
    return "planned"


def main() -> None:
    """Plan what time allows, and print what became of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--only", choices=("timm", "hf"), action="append")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    libraries = {
        "timm": lambda: [timm.PREFIX + each for each in timm.models()],
        "hf": lambda: [hf.PREFIX + each for each in hf.types()],
    }
    for name in chosen.only or libraries:
        names = libraries[name]()
        random.Random(0).shuffle(names)
        found, until = dict[str, str](), time.monotonic() + chosen.seconds
        for each in names:
            if time.monotonic() > until:
                break
            found[each] = planned(each)
            if found[each] != "planned":
                print(each, found[each], flush=True)
        counts = Counter(told.partition(":")[0] for told in found.values())
        told = {"library": name, "known": len(names), "tried": len(found), **counts}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
