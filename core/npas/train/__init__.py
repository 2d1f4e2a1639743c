"""Training: everything between a network with fresh weights and one worth delivering.

Example:
    >>> import npas, npas.data
    >>> from npas.spec import TrainingSpec
    >>> from npas.train import Command, Trainer
    >>> digits = npas.data.load("digits")
    >>> network = npas.build({"name": "wrn-16-1", "input_channels": 1, "input_size": 8})
    >>> trainer = Trainer(network, digits, TrainingSpec(epochs=1), inputs=digits.inputs(), seed=0)
    >>> trainer.train(after_step=lambda: Command.CONTINUE, after_epoch=lambda row: None)
    <Command.CONTINUE: 'continue'>
"""

from npas.train.adjustments import UNCHANGED, Adjustments
from npas.train.commands import Command
from npas.train.epoch import Row
from npas.train.state import State, read, saved, write
from npas.train.trainer import Trainer

__all__ = [
    "UNCHANGED",
    "Adjustments",
    "Command",
    "Row",
    "State",
    "Trainer",
    "read",
    "saved",
    "write",
]
