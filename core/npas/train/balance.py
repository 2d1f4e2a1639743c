"""Classes of different sizes: each gets the same say in the loss.

An image of class c counts N / (K n_c) times: N images are trained on, n_c of them of that class, K
classes have any. This is what scikit-learn calls "balanced" (King & Zeng, "Logistic Regression in
Rare Events Data", 2001). The weights of all images have mean 1, and losses are averaged over
images, not over weights, so that a batch is the sum of its parts however it is cut.
"""

import torch
from torch import Tensor

from npas.errors import InvalidSpecError
from npas.spec import TrainingSpec
from npas.tasks import TaskName


def check_balance(spec: TrainingSpec, task: TaskName) -> None:
    """Check that the classes to balance are those of images.

    Raises:
        InvalidSpecError: they are those of cells.
    """
    if spec.balance != "none" and task != "classes":
        raise InvalidSpecError(
            f"balance {spec.balance!r} weighs the classes of images, but this dataset asks for "
            "their cells: leave it out",
            field="/training/balance",
        )


def class_weights(spec: TrainingSpec, labels: Tensor, num_classes: int) -> Tensor | None:
    """Return the weight of each class, float32 `(K,)`; None where all count the same.

    Args:
        spec: balance counts.
        labels: int64 `(N,)`, of all images that are trained on.
        num_classes: of the dataset; those without an image get 0.
    """
    if spec.balance == "none":
        return None
    counts = labels.bincount(minlength=num_classes).double()
    present = counts > 0
    weights = torch.where(present, len(labels) / (present.sum() * counts.clamp(min=1)), 0.0)
    return weights.float()
