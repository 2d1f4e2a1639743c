"""Training: everything between a network with fresh weights and one worth delivering.

Example:
    >>> import npas, npas.data
    >>> from npas.spec import TrainingSpec
    >>> from npas.train import Trainer
    >>> digits = npas.data.load("digits")
    >>> network = npas.build({"name": "wrn-16-1", "input_channels": 1, "input_size": 8})
    >>> trainer = Trainer(network, digits, TrainingSpec(epochs=1), inputs=digits.inputs(), seed=0)
    >>> trainer.train(after_step=lambda: "", after_epoch=lambda row: None)
    ''
"""

from npas.train.state import State, read, saved, write
from npas.train.trainer import Row, Trainer, Wish

__all__ = ["Row", "State", "Trainer", "Wish", "read", "saved", "write"]
