"""The states of a job, and which of them are the end."""

from typing import Literal, get_args

State = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
Ending = Literal["succeeded", "failed", "cancelled"]

STATES: tuple[State, ...] = get_args(State)
TERMINAL: tuple[Ending, ...] = get_args(Ending)
LIVE: tuple[State, ...] = ("running", "cancelling")
"""A worker holds the job."""

DATASET_STATES = ("uploading", "processing", "ready", "invalid")


def is_terminal(state: str) -> bool:
    """Tell whether a job in this state will never change again."""
    return state in TERMINAL
