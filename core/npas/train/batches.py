"""Which images a step sees: the split, the order, the bytes."""

import torch
from torch import Tensor

from npas import seeds
from npas.data import Dataset
from npas.spec import TrainingSpec

_RESIDENT_BYTES = 4 << 30  # larger sets stay in main memory and cross to the GPU batch by batch


class Batches:
    """The training images of a dataset without those held out for validation, batch by batch.

    A dataset that has validation images of its own holds out those, and is trained on whole.

    Every image is seen once an epoch. The batches of an epoch differ in size by one at most, so no
    step is left with a handful of images.

    Attributes:
        per_epoch: batches in an epoch.
        validation: images and labels held out, both empty without a validation split.
    """

    def __init__(
        self, dataset: Dataset, spec: TrainingSpec, *, seed: int, stage: str, device: torch.device
    ) -> None:
        """Split; which images are held out depends on the seed alone.

        Args:
            dataset: its test split is never touched.
            spec: batch_size counts, and validation_fraction where the dataset has no validation
                images.
            seed: of the split and the order.
            stage: the order differs from stage to stage.
            device: where batches go.
        """
        self._seed, self._stage, self._device = seed, stage, device
        resident = dataset.x_train.nbytes <= _RESIDENT_BYTES
        home = device if resident else torch.device("cpu")
        if dataset.x_validation is not None and dataset.y_validation is not None:
            self._images, self._labels = dataset.x_train.to(home), dataset.y_train.to(home)
            self.validation = dataset.x_validation.to(home), dataset.y_validation.to(home)
        else:
            x, y = dataset.x_train, dataset.y_train
            training, held_out = split(len(x), spec.validation_fraction, seed=seed)
            self._images, self._labels = x[training].to(home), y[training].to(home)
            self.validation = x[held_out].to(home), y[held_out].to(home)
        self.per_epoch = num_batches(len(self._labels), spec.batch_size)
        self._epoch = -1
        self._orders: dict[str | None, tuple[Tensor, ...]] = {}  # of that epoch, by network

    @property
    def labels(self) -> Tensor:
        """Return the labels of all images that are trained on."""
        return self._labels

    @property
    def images(self) -> Tensor:
        """Return all images that are trained on, uint8 `(N, C, S, S)`."""
        return self._images

    def get(self, epoch: int, index: int, network: str | None = None) -> tuple[Tensor, Tensor]:
        """Return images, uint8 `(N, C, S, S)`, and labels `(N,)`.

        Batches of one index have the same size, whatever network they are for.

        Args:
            epoch: from 0.
            index: of the batch in the epoch, from 0.
            network: that has its own order of the images; None: the order of all.
        """
        if epoch != self._epoch:
            self._epoch, self._orders = epoch, {}
        if network not in self._orders:
            own = () if network is None else (network,)
            draw = seeds.generator("order", self._seed, self._stage, epoch, *own)
            order = torch.randperm(len(self._images), generator=draw).to(self._images.device)
            self._orders[network] = order.tensor_split(self.per_epoch)
        chosen = self._orders[network][index]
        return self._images[chosen].to(self._device), self._labels[chosen].to(self._device)


def split(images: int, fraction: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices to train on and those to hold out, both in the dataset's order.

    Args:
        images: how many there are.
        fraction: to hold out, at least one image unless it is 0.
        seed: which ones.
    """
    count = num_held_out(images, fraction)
    order = torch.randperm(images, generator=seeds.generator("validation", seed))
    return order[count:].sort().values, order[:count].sort().values


def num_held_out(images: int, fraction: float) -> int:
    """Return how many images of so many are held out: at least one, unless the fraction is 0."""
    return max(1, round(images * fraction)) if fraction else 0


def num_batches(images: int, batch_size: int) -> int:
    """Return how many batches an epoch of so many images has.

    At least two images a batch: one alone has no variance for a batch norm to divide by.
    """
    return min(-(-images // batch_size), images // 2)


def largest_batch(images: int, spec: TrainingSpec, *, validation: int = 0) -> int:
    """Return how many images the largest batch holds.

    Args:
        images: for training, that the dataset has.
        spec: of the training.
        validation: images of the dataset's own that are held out; 0: the spec says how many.
    """
    count = images if validation else images - num_held_out(images, spec.validation_fraction)
    return -(-count // num_batches(count, spec.batch_size))
