"""npas.delivery.exports._example: what a network is traced with, and the outputs of a file."""

import npas
import onnxruntime
import pytest
import torch
from npas.delivery.exports._example import inputs_of
from npas.errors import InvalidSpecError
from torch import nn

IMAGE, META = torch.randn(3, 4), torch.randn(3, 2)


class Two(nn.Module):
    """Reads two inputs; what it returns is given by a function of the logits."""

    def __init__(self, returned=lambda logits: logits):
        super().__init__()
        self.image, self.meta, self.returned = nn.Linear(4, 3), nn.Linear(2, 3), returned

    def forward(self, image, scale=None, meta=None, *, flag=None):  # noqa: ARG002
        image = image if scale is None else image * scale
        return self.returned(
            self.image(image) if meta is None else self.image(image) + meta[:, :1]
        )


def test_inputs_by_name_are_put_in_order(tmp_path):
    module = Two().eval()
    example = {"meta": META, "scale": torch.ones(3, 1), "image": IMAGE}
    done = npas.export(module, tmp_path / "net.onnx", example=example)
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    given = (IMAGE, example["scale"], META)
    fed = {each.name: x.numpy() for each, x in zip(session.get_inputs(), given, strict=True)}
    (found,) = session.run(None, fed)
    torch.testing.assert_close(torch.from_numpy(found), module(**example))
    assert [each.name for each in session.get_inputs()] == ["input_0", "input_1", "input_2"]


@pytest.mark.parametrize(
    "example", [{"image": IMAGE, "meta": META}, {"image": IMAGE, "flag": META}]
)
def test_inputs_that_have_no_order_are_refused(example):
    with pytest.raises(InvalidSpecError, match=r"image, .*one after the other.*module around it"):
        inputs_of(example, [Two()])


def test_networks_that_order_inputs_otherwise_are_refused():
    class Other(nn.Module):
        def forward(self, scale, image):
            return image * scale

    example = {"image": IMAGE, "scale": torch.ones(3, 1)}
    assert inputs_of(example, [Other()])[0] is example["scale"]
    with pytest.raises(InvalidSpecError, match="one after the other"):
        inputs_of(example, [Two(), Other()])


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda y: {"logits": y}, "dict"),
        (lambda y: (y, None), r"a tensor \(3, 3\), NoneType"),
        (lambda y: (y, y.argmax(1)), r"a tensor \(3, 3\), a tensor \(3,\)"),
        (lambda _: (), "nothing"),
    ],
)
def test_outputs_that_no_file_has_are_refused_before_anything_is_written(tmp_path, returned, told):
    with pytest.raises(InvalidSpecError, match=f"forward returns {told}: .*tensor alone"):
        npas.export(Two(returned), tmp_path / "net.pt2", example=IMAGE)
    assert not list(tmp_path.iterdir())
