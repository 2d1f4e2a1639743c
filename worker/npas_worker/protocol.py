"""How supervisor and training process talk: signals one way, exit codes the other."""

import signal

PAUSE = signal.SIGTERM
"""Save everything and leave."""
FINISH = signal.SIGUSR2
"""Deliver the best network so far."""
SHOW = signal.SIGUSR1
"""Write the stacks of all threads to the log."""
SIGNALS = frozenset({PAUSE, FINISH, SHOW})

ENDED = 0
"""The job's end is written."""
FENCED = 70
"""The claim was over; nothing more was written."""
LOST = 74
"""It failed, and what follows is written: another try, or the end."""
PAUSED = 75
"""Everything needed to go on is on disk and registered."""

PULSE = "pulse"
"""File in the working folder whose time changes while there is progress."""
