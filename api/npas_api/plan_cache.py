"""Plans that were made a moment ago, for requests that are the same again.

The same request gives the same plan, as long as the data and the largest device are the same. So a
plan is kept with both, for a minute: many jobs that are asked for together, such as one network
under many labels, are planned once. That a dataset's files change within that minute, below a
folder that looks the same, is no worse than their changing right after a plan was made: the worker
holds the plan to the data that it finds (`npas.jobs.promise`).
"""

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from npas.jobs.workload import Workload
from npas.plans import Plan
from npas.spec import JobSpec

KEEP_SECONDS = 60.0
MAX_BYTES = 32 * 1024 * 1024
"""Of all plans that are kept, as JSON."""
MAX_FILES = 1000
"""In the data folder; where there are more, looking at them would take longer than it saves."""

Stamp = tuple[tuple[str, int, int], ...]
_WITHOUT_A_SAY = {"labels", "priority"}
"""Fields of a request that no plan depends on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptPlan:
    """A plan, and what it was made with.

    Attributes:
        document: the same as JSON.
        work: that the training is.
        memory_bytes: of the largest device, as it was known then.
    """

    plan: Plan
    document: str
    work: Workload
    memory_bytes: int | None
    stamp: Stamp
    until: float


class PlanCache:
    """Keeps the plans of jobs; of those that it has no room for, the one unused longest goes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, KeptPlan] = OrderedDict()
        self._bytes = 0

    def find(self, spec: JobSpec, folder: Path) -> KeptPlan | None:
        """Return the plan of this request; None: it is not kept, or the data have changed.

        Whoever uses it must see to it that the memory of the largest device is still the same.

        Args:
            folder: of the datasets.
        """
        key = _key(spec)
        kept = self._kept.get(key)
        if kept is None:
            return None
        if time.monotonic() > kept.until or stamp(folder) != kept.stamp:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def keep(
        self,
        spec: JobSpec,
        document: str,
        work: Workload,
        *,
        memory_bytes: int | None,
        before: Stamp | None,
    ) -> None:
        """Keep the plan of a request.

        Args:
            document: the plan.
            work: that the training is.
            before: the data folder's `stamp` from before the plan was made.
        """
        if before is None or len(document) > MAX_BYTES:
            return
        key = _key(spec)
        self._drop(key)
        self._kept[key] = KeptPlan(
            plan=Plan.from_json(document),
            document=document,
            work=work,
            memory_bytes=memory_bytes,
            stamp=before,
            until=time.monotonic() + KEEP_SECONDS,
        )
        self._bytes += len(document)
        while self._bytes > MAX_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        if (gone := self._kept.pop(key, None)) is not None:
            self._bytes -= len(gone.document)


def stamp(folder: Path) -> Stamp | None:
    """Return what changes when files come to the data folder, go, or are written anew.

    None where it holds too many.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry, _ in zip(entries, range(MAX_FILES + 1), strict=False)]
            if len(found) > MAX_FILES:
                return None
            known = [(entry.name, entry.stat()) for entry in found]
    except OSError:  # there is none, or something went while it was looked at
        return () if not folder.exists() else None
    return tuple(sorted((name, file.st_mtime_ns, file.st_size) for name, file in known))


def _key(spec: JobSpec) -> str:
    return spec.model_dump_json(exclude=_WITHOUT_A_SAY)
