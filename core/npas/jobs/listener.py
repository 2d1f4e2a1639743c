"""Who hears how a run goes, and may stop it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from npas.plans import Plan
from npas.train import Command

Phase = Literal["preparing", "teaching", "searching", "training", "evaluating"]


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

    def command(self) -> Command:
        """Say to go on, to save and return, or to deliver the best so far; asked at each step."""


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

    def command(self) -> Command:
        """Say to go on."""
        return Command.CONTINUE
