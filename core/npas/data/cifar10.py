"""CIFAR-10: photographs in 10 classes, 32x32 colour."""

from npas.data._cifar import cifar_source

SOURCE = cifar_source(
    title="CIFAR-10, photographs in 10 classes, 32x32 colour",
    name="cifar10",
    num_classes=10,
    subfolder="cifar-10-batches-py",
)
