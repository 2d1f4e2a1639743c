"""The plans of one run: each revises the one before by what training showed, at a cost."""

import time
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from torch import Tensor

from npas.jobs.resume import RevisionFacts
from npas.methods import Method
from npas.planning.planner import refine
from npas.plans import Plan
from npas.plans.comparison import compare
from npas.plans.evidence import Evidence
from npas.sharing.measure import coefficient_agreement, measured, shared_banks
from npas.sharing.model import SharedModel
from npas.sharing.untying import untie
from npas.spec import Spec
from npas.train import Row, Trainer


class Version(IntEnum):
    """Of a plan: from the request alone, to search with, after the search, refined."""

    REQUESTED = 0
    SEARCHING = 1
    SEARCHED = 2
    REFINED = 3


class Revisions:
    """All plans of a run so far, and what it took to find them.

    Attributes:
        plans: by version, see above; versions that a run has no use for are left out.
        refine_after: epochs of the training before the refinement; 0: there is none.
        refinement: what it did, JSON; None before.
    """

    def __init__(
        self, method: Method, options: Spec, *, epochs: int, is_final: bool = False
    ) -> None:
        """Ask the method what it wants.

        Args:
            method: of the job.
            options: of the method.
            epochs: of the training.
            is_final: whether the first plan stays as it is.

        Raises:
            InvalidSpecError: it wants to refine after an epoch that does not come.
        """
        self.plans: dict[int, Plan] = {}
        self.refine_after = 0 if is_final else method.refine_after(options, epochs=epochs)
        self._kind = method.evidence_kind
        self._batches = method.evidence_batches(options)
        self._search_seconds = 0.0
        self.refinement: dict[str, Any] | None = None

    @property
    def current(self) -> Plan:
        """The plan in force, the newest."""
        return self.plans[max(self.plans)]

    @property
    def trained_first(self) -> Plan:
        """The plan that the training began with."""
        return self.plans[max(self.plans.keys() - {Version.REFINED})]

    def measured(self, trainer: Trainer) -> Evidence:
        """Return the evidence at the end of a search."""
        started = time.monotonic()
        evidence = measured(self._kind, shared_model(trainer), self._measuring(trainer))
        self._search_seconds += time.monotonic() - started
        return evidence

    def step_of_refinement(self, trainer: Trainer) -> int | None:
        """Return after which step of the training the plan is to be refined; None: no more.

        Where no layers share coefficients there is nothing to measure.
        """
        is_due = self.refine_after and Version.REFINED not in self.plans
        if not is_due or next(shared_banks(shared_model(trainer).plan), None) is None:
            return None
        return self.refine_after * trainer.steps_per_epoch

    def refined(self, trainer: Trainer) -> Plan:
        """Measure, refine the plan in force and put it into effect; the outputs stay the same."""
        started = time.monotonic()
        model = shared_model(trainer)
        evidence = coefficient_agreement(model, self._measuring(trainer))
        plan = refine(model.plan, evidence)
        untied = untie(model, plan)
        trainer.adopt(untied.model, untied.rows)
        self.refinement = {
            "epoch": self.refine_after,
            "seconds": time.monotonic() - started,
            "batches": evidence.batches,
            "rows_before": _num_rows(model.plan),
            "rows_after": _num_rows(plan),
        }
        return plan

    def _measuring(self, trainer: Trainer) -> list[tuple[Tensor, Tensor]]:
        """Return the next training batches as they are, without augmentation."""
        epoch = trainer.step // trainer.steps_per_epoch
        count = min(self._batches, trainer.steps_per_epoch)
        chosen = [trainer.batches.get(epoch, index) for index in range(count)]
        return [
            (trainer.inputs(images[: (size := _at_once(trainer, len(labels)))]), labels[:size])
            for images, labels in chosen
        ]

    def facts(self) -> dict[str, Any]:
        """Return the state that `restore` reads, as JSON."""
        return {
            "plans": {str(int(version)): p.to_json() for version, p in self.plans.items()},
            "search_seconds": self._search_seconds,
            "refinement": self.refinement,
        }

    def restore(self, facts: RevisionFacts) -> list[tuple[Version, Plan]]:
        """Go back to where `facts` was called, and return all plans but the request's."""
        self.plans = {int(v): Plan.from_json(text) for v, text in facts.plans.items()}
        self._search_seconds, self.refinement = facts.search_seconds, facts.refinement
        return [(Version(v), plan) for v, plan in sorted(self.plans.items()) if v]

    def report(self, search_rows: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
        """Return outlines of all plans, and the cost of search and refinement, as JSON.

        Args:
            search_rows: epochs of the search.
            rows: epochs of the training.

        Returns:
            "search" and "refinement", None where there was none, with shares of the seconds and
            optimiser steps of search and training together; and "plans", one entry a version.
        """
        seconds = self._search_seconds + sum(row.seconds for row in (*search_rows, *rows))
        refinement = self.refinement
        if refinement is not None:
            seconds += refinement["seconds"]
            refinement = refinement | _cost(refinement["seconds"], seconds)
        return {
            "search": self._search(search_rows, rows, seconds) if search_rows else None,
            "refinement": refinement,
            "plans": _outlines(self.plans),
        }

    def _search(
        self, search_rows: Sequence[Row], rows: Sequence[Row], seconds: float
    ) -> dict[str, Any]:
        spent = self._search_seconds + sum(row.seconds for row in search_rows)
        steps = search_rows[-1].step
        return {
            "epochs": len(search_rows),
            "steps": steps,
            "steps_share": round(steps / (steps + (rows[-1].step if rows else 0)), 6),
            **_cost(spent, seconds),
            "validation_accuracy": search_rows[-1].validation_accuracy,
        }


def _at_once(trainer: Trainer, images: int) -> int:
    """Return how many images of a batch of so many the memory has room for at once."""
    return -(-images // trainer.adjustments.parts(images))


def _cost(seconds: float, whole: float) -> dict[str, float]:
    return {"seconds": round(seconds, 3), "seconds_share": round(seconds / max(whole, 1e-9), 6)}


def _num_rows(plan: Plan) -> int:
    return sum(bank.rows for group in plan.groups for bank in group.banks)


def _outlines(plans: Mapping[int, Plan]) -> list[dict[str, Any]]:
    """Return a few numbers of every plan, and how many layers moved since the one before."""
    found = []
    before: Plan | None = None
    for version, plan in sorted(plans.items()):
        found.append(
            {
                "version": int(version),
                "stage": plan.stage,
                "groups": len(plan.groups),
                "parameters": plan.ledger.total,
                "templates": sum(bank.templates for g in plan.groups for bank in g.banks),
                "rows": _num_rows(plan),
                "moved": len(compare(before, plan).moves) if before else 0,
            }
        )
        before = plan
    return found


def shared_model(trainer: Trainer) -> SharedModel:
    """Return the model of a trainer, which in every stage but the teacher's is a shared one."""
    assert isinstance(trainer.model, SharedModel)
    return trainer.model
