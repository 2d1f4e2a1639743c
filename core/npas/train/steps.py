"""What each step trains: which networks, on which images."""

from dataclasses import dataclass

from torch import Tensor, nn

from npas import seeds
from npas.data import Dataset
from npas.spec import TrainingSpec
from npas.train.augment import augmentation
from npas.train.batches import Batches
from npas.train.ensemble import check_ensemble, taking_part
from npas.train.evaluate import Tensors, network_names
from npas.train.mixing import mixing


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one step trains.

    Attributes:
        images: uint8 `(N, C, S, S)`, augmented, or float of the same range where they are
            blended; for all networks, or for each its own.
        labels: of the images; where they are mixed, shares of the classes, float `(N, K)`.
        names: of the networks that take part; None: all of them.
        size: images of the batch, N; of own batches, of each.
    """

    images: Tensors
    labels: Tensors
    names: tuple[str, ...] | None
    size: int


class Steps:
    """The steps of a training; each is a function of its place, whatever came before."""

    def __init__(
        self,
        model: nn.Module,
        dataset: Dataset,
        spec: TrainingSpec,
        batches: Batches,
        *,
        seed: int,
        stage: str,
    ) -> None:
        """Draw nothing yet.

        Args:
            model: whose networks are trained.
            dataset: says what may happen to an image.
            spec: likewise; and which networks take part, and whether each has batches of its own.
            batches: of the dataset.
            seed: of everything random.
            stage: goes into what is random.

        Raises:
            InvalidSpecError: the spec does not suit the dataset, or the number of networks.
        """
        self._names = network_names(model)
        check_ensemble(spec, len(self._names))
        self._augment, self._spec = augmentation(spec, dataset), spec.ensemble
        self._mix, self._num_classes = mixing(spec), dataset.num_classes
        self._batches, self._seed, self._stage = batches, seed, stage

    def get(self, epoch: int, index: int) -> Step:
        """Return what a step trains.

        Args:
            epoch: from 0.
            index: of the step in the epoch, from 0.
        """
        chosen = taking_part(
            self._spec,
            len(self._names),
            seed=self._seed,
            stage=self._stage,
            epoch=epoch,
            index=index,
        )
        names = tuple(self._names[number] for number in chosen)
        if self._spec.batches == "same":
            images, labels = self._batch(epoch, index)
            are_all = len(names) == len(self._names)
            return Step(
                images=images,
                labels=labels,
                names=None if are_all else names,
                size=len(labels),
            )
        own = {name: self._batch(epoch, index, name) for name in names}
        return Step(
            images={name: images for name, (images, _) in own.items()},
            labels={name: labels for name, (_, labels) in own.items()},
            names=names,
            size=len(own[names[0]][1]),
        )

    def _batch(self, epoch: int, index: int, *network: str) -> tuple[Tensor, Tensor]:
        """Return the augmented images of one network, or of all, and their labels."""
        images, labels = self._batches.get(epoch, index, *network)
        draw = seeds.generator("augment", self._seed, self._stage, epoch, index, *network)
        images = self._augment(images, draw)
        if self._mix is None:
            return images, labels
        draw = seeds.generator("mixing", self._seed, self._stage, epoch, index, *network)
        return self._mix(images, labels, self._num_classes, draw)
