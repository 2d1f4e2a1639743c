"""What a supervisor has told its training process to do."""

import signal
from types import FrameType

from npas_worker.protocol import FINISH, PAUSE, SIGNALS


class Signals:
    """What the supervisor has asked for. Handlers only note it: raising would tear a commit."""

    def __init__(self) -> None:
        """Listen to the signals from now on."""
        self.pause = self.finish = False
        signal.signal(PAUSE, self._note)
        signal.signal(FINISH, self._note)
        # The supervisor starts us with its signals held back; those that came early arrive now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == PAUSE:
            self.pause = True
        else:
            self.finish = True
