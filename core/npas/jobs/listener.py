"""Who hears how a run goes, and may stop it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from npas.plans import Plan
from npas.train import Wish

Phase = Literal["preparing", "teaching", "searching", "training", "evaluating"]

PROGRESS_SECONDS = 0.5
"""Least time between two words on progress."""


class Listener(Protocol):
    """Hears how a run goes and may stop it.

    All methods are called on the thread that trains, which waits for them.
    """

    def phase(self, name: Phase) -> None:
        """Hear that a phase begins."""

    def event(self, type: str, message: str, data: Mapping[str, Any]) -> None:
        """Hear a piece of news: a word for its kind, a sentence for people, JSON for programs."""

    def plan(self, version: int, plan: Plan) -> None:
        """Get a plan: 0 of the request alone; 1 to search with; 2 after the search; 3 refined.

        After a race, 0 is what the job was accepted with, and each of the winner's is one later.
        """

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Get one epoch, the fields of `npas.train.Row`; after a resume some come again."""

    def progress(self, fraction: float, eta_seconds: float | None) -> None:
        """Hear how much of the whole job is done, 0 to 1, at most every half second."""

    def checkpoint(self, path: Path, step: int) -> None:
        """Get a resume file that is safe on disk, after so many optimiser steps of the job."""

    def stop(self) -> Wish:
        """Say "" to go on, "pause" to save and return, "finish" to deliver the best so far."""


class NullListener:
    """A listener that ignores all news and never stops: override what you need."""

    def phase(self, name: Phase) -> None:
        """Ignore it."""

    def event(self, type: str, message: str, data: Mapping[str, Any]) -> None:
        """Ignore it."""

    def plan(self, version: int, plan: Plan) -> None:
        """Ignore it."""

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Ignore it."""

    def progress(self, fraction: float, eta_seconds: float | None) -> None:
        """Ignore it."""

    def checkpoint(self, path: Path, step: int) -> None:
        """Ignore it."""

    def stop(self) -> Wish:
        """Say to go on."""
        return ""
