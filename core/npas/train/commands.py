"""What a training is told between two steps."""

from enum import StrEnum


class Command(StrEnum):
    """What is asked for between two steps: go on, stop to resume later, or stop for good."""

    CONTINUE = "continue"
    PAUSE = "pause"
    FINISH = "finish"
