"""CIFAR-100: photographs in 100 classes, 32x32 colour."""

from npas.data._cifar import cifar_source

SOURCE = cifar_source(
    title="CIFAR-100, photographs in 100 classes, 32x32 colour",
    name="cifar100",
    num_classes=100,
    subfolder="cifar-100-python",
)
