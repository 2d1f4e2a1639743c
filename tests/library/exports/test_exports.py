"""Exports: what was shared stands in the file once, and the outputs are the network's."""

import contextlib

import npas
import onnxruntime
import pytest
import safetensors.torch
import torch
from npas import registry
from npas.delivery.exporting import TOLERANCE, check, keeps_sharing, target
from npas.errors import ExportError, InvalidSpecError, MissingPackageError, UnknownNameError
from npas.spec import ArchitectureSpec, NetworkSpec
from npas.spec.export import ExportSpec
from torch import nn

KINDS = ["tied", "mix", "linear"]
SIZES = {"input_size": 8, "input_channels": 3, "num_classes": 10}
BLOCKS = [{"kind": "conv", "channels": n} for n in (8, 8, 12, 12, 12)]
ENDING = [{"kind": "pool", "function": "global"}, {"kind": "linear"}]
TINY = {"name": "declared", "layers": [*BLOCKS, *ENDING], **SIZES}

METHODS = {
    "superweights": 0.5,
    "ssn": 0.6,
    "block_mix": 0.6,
    "uniform": 0.4,
    "random": 0.5,
}
"""One for each recipe that soft sharing has not, with a budget as a part of dense."""


def images(count=2):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", KINDS)
def test_pt2_is_small_and_gives_the_same(exported, kind, network):
    done = exported(kind, to="torch.export")
    assert done.ratio < 1.35
    again = torch.export.load(done.path).module()
    net, x = network(kind), images(5)
    assert (again(x) - net(x)).abs().max() < 1e-5


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_traces(tmp_path, method, guard):
    plan = npas.plan(TINY, budget={"fraction": METHODS[method]}, method=method)
    net = npas.share(npas.build(TINY), plan).eval()
    told = "times as large as .* superweights, soft_sharing, ssn, uniform"
    with pytest.warns(match=told) if method == "random" else contextlib.nullcontext():
        done = npas.export(net, tmp_path / "net.pt2", guard=guard)
    again = torch.export.load(done.path).module()
    assert (again(images(3)) - net(images(3))).abs().max() < 1e-5
    held = sum(each.numel() for each in again.parameters())
    assert done.keeps_sharing == keeps_sharing(ExportSpec(), plan) == (method != "random")
    if method == "random":  # its places are as many as its weights, which stand there instead
        assert held == plan.ledger.dense
    else:
        assert held <= 1.1 * plan.ledger.total
    assert done.max_difference < 1e-5


def test_the_network_is_left_as_it_was(tmp_path, network):
    net = network("mix").train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    npas.export(net, tmp_path / "net.pt2", "torch.export")
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def several():
    names = {"small": TINY, "large": TINY | {"layers": [BLOCKS[0], *BLOCKS, *ENDING]}}
    specs = [
        NetworkSpec(name=name, architecture=ArchitectureSpec.model_validate(spec))
        for name, spec in names.items()
    ]
    plan = npas.plan(specs, budget={"fraction": 0.5}, method="soft_sharing")
    modules = {each.name: npas.build(each.architecture) for each in plan.networks}
    return npas.share(modules, plan).eval()


def test_several_networks_are_one_file_with_an_output_each(tmp_path):
    net = several()
    done = npas.export(net, tmp_path / "both.onnx")
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == ["small", "large"]
    wanted = net.members(images(4))
    found = session.run(None, {"input": images(4).numpy()})
    for one, name in zip(found, wanted, strict=True):
        assert (torch.from_numpy(one) - wanted[name]).abs().max() < 1e-5


def test_one_network_of_several(tmp_path):
    net = several()
    done = npas.export(net, tmp_path / "small.pt2", "torch.export", network="small")
    found = torch.export.load(done.path).module()(images(3))
    assert (found - net.members(images(3))["small"]).abs().max() < 1e-5


def test_safetensors_is_for_the_module_itself(tmp_path, network):
    net = network("mix")
    done = npas.export(net, tmp_path / "weights.safetensors", "safetensors")
    plain = npas.build(declared_of(net)).eval()
    plain.load_state_dict(safetensors.torch.load_file(done.path))
    assert torch.equal(plain(images()), next(iter(net.materialise().values()))(images()))
    assert done.max_difference is None


def declared_of(net):
    return net.plan.networks[0].architecture


def test_safetensors_of_several_networks_names_them(tmp_path):
    done = npas.export(several(), tmp_path / "weights.safetensors", "safetensors")
    heads = {name.partition(".")[0] for name in safetensors.torch.load_file(done.path)}
    assert heads == {"small", "large"}


def test_a_plain_module_with_two_inputs(tmp_path):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x, y):
            return self.layer(x) + y

    module, given = Sum(), (torch.randn(2, 4), torch.randn(2, 3))
    done = npas.export(module, tmp_path / "sum.pt2", "torch.export", example=given)
    found = torch.export.load(done.path).module()(*given)
    assert torch.allclose(found, module(*given))


def test_a_fixed_batch(tmp_path, network):
    done = npas.export(network("tied"), tmp_path / "one.pt2", "torch.export", dynamic_batch=False)
    found = torch.export.load(done.path)
    assert found.module()(images(1)).shape == (1, 10)
    assert not found.range_constraints


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("safetensors", {"guard": True}, "guard means nothing"),
        ("torch.export", {"opset": 20}, "opset means nothing"),
        ("onnx", {"opset": 3}, "opset"),
        ("onnx", {"precision": "half"}, "precision"),
        ("onnx", {"norms": "gone"}, "norms"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, to, options, message, network):
    with pytest.raises(InvalidSpecError, match=message):
        npas.export(network("tied"), tmp_path / "net", to, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (3, "the example is int: give an input as a tensor"),
        ({"stranger": images(2)}, r"does not fit forward\(.*(missing|unexpected).*argument"),
        ((images(2), None), r"a tensor \(2, .*\), NoneType: .* write a module around it"),
        (images(2).numpy(), "the example is ndarray"),
        ([images(2), 3], r"the example is a tensor \(2, .*\), int"),
        ((), "the example is empty"),
        (images(2)[:0], "the example is a tensor .* at least one example"),
        (images(2).long(), r"does not run on the example, torch.int64 \(2, "),
        ((images(2), images(2)), "does not run on the example.*positional argument"),
    ],
)
def test_examples_that_do_not_fit_are_refused(tmp_path, example, message, network):
    for net in (network("tied"), nn.Conv2d(3, 4, 3)):
        with pytest.raises(InvalidSpecError, match=message):
            npas.export(net, tmp_path / "net.pt2", "torch.export", example=example)
    assert not list(tmp_path.iterdir())


def test_unknown_formats_and_networks_are_refused(tmp_path, network):
    with pytest.raises(UnknownNameError, match="did you mean onnx"):
        npas.export(network("tied"), tmp_path / "net", "onx")
    with pytest.raises(
        UnknownNameError, match=r"'pt2'.*mean torch\.export.*: onnx, safe.*, torch\.e"
    ):
        npas.export(network("tied"), tmp_path / "net.pt2", "pt2")
    with pytest.raises(UnknownNameError, match="network"):
        npas.export(network("tied"), tmp_path / "net.onnx", network="other")
    with pytest.raises(InvalidSpecError, match="example"):
        npas.export(nn.Linear(2, 2), tmp_path / "net.onnx")


@pytest.mark.parametrize(("suffix", "name"), [("pt2", "torch.export"), ("ONNX", "onnx")])
def test_format_is_that_of_the_suffix(tmp_path, suffix, name):
    x = torch.ones(2, 2)
    assert npas.export(nn.Linear(2, 2), tmp_path / f"net.{suffix}", example=x).to == name
    assert npas.export(nn.Linear(2, 2), tmp_path / "net.bin", name, example=x).to == name


@pytest.mark.parametrize(
    ("file", "to", "message"),
    [
        ("net.tflite", None, r"of no format: give one of \.onnx \(onnx\), .*\.pt2"),
        ("net", None, "of no format"),
        ("net.pt2", "onnx", "of torch.export, and to='onnx' is another"),
        ("net.safetensors", "torch.export", "of safetensors, and"),
    ],
)
def test_suffix_of_no_format_or_of_another_is_refused(tmp_path, file, to, message):
    with pytest.raises(InvalidSpecError, match=message):
        npas.export(nn.Linear(2, 2), tmp_path / file, to, example=torch.ones(2, 2))
    assert not list(tmp_path.iterdir())


def test_formats_are_found_by_their_files():
    known = registry.names("npas.delivery.exports")
    assert set(known) == {"onnx", "safetensors", "torch_export"}
    names = [target(name).file_name for name in known]
    assert names == ["model.onnx", "weights.safetensors", "model.pt2"]


def test_files_of_formats_have_names_of_their_own():
    names = [target(name).file_name for name in registry.names("npas.delivery.exports")]
    kinds = [
        registry.load("npas.artifacts", name, kind="artifact").ARTIFACT.file
        for name in registry.names("npas.artifacts")
    ]
    delivered = {"model.safetensors", "folded.safetensors", *kinds}
    assert len(set(names)) == len(names)
    assert not delivered & set(names)


def test_a_folder_that_is_missing_is_told_of_before_anything_is_traced(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        npas.export(nn.Linear(2, 2), tmp_path / "missing" / "net.pt2", to="torch.export")


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(InvalidSpecError, match="a Plan cannot be exported"):
        npas.export(npas.plan("resnet-8", budget=40_000), tmp_path / "net.onnx")


def test_shuffled_blocks_are_said_not_to_keep_sharing():
    plan = npas.plan(TINY, budget={"fraction": 0.2}, method="block_mix")
    assert [group.settings for group in plan.groups] == [{"shuffled": 0}]
    assert not keeps_sharing(ExportSpec(), plan)
    assert not keeps_sharing(ExportSpec(to="safetensors"), plan)


def test_format_is_called_by_its_one_name():
    for name in ("torch.export", "torch_export", "torch-export"):
        assert check(ExportSpec(to=name), None).to == "torch.export"


def test_packages_of_a_format_are_asked_for_at_once(monkeypatch):
    monkeypatch.setattr(registry, "is_installed", lambda _: False)
    with pytest.raises(MissingPackageError, match=r"pip install 'npas\[onnx\]'"):
        check(ExportSpec(to="onnx"), None)
    monkeypatch.setattr(type(target("torch.export")), "packages", ("strange",))
    monkeypatch.setattr(type(target("torch.export")), "extra", "other")
    with pytest.raises(MissingPackageError, match=r"strange .* pip install 'npas\[other\]'"):
        check(ExportSpec(to="torch.export"), None)
    monkeypatch.setattr(type(target("torch.export")), "packages", ())
    assert check(ExportSpec(to="torch.export"), None)


class Scaled(nn.Module):
    """Outputs of a scale."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x * self.scale


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_outputs_are_compared_by_their_own_scale(tmp_path, monkeypatch, scale):
    module, x = Scaled(scale), torch.linspace(-1, 1, 8).view(2, 4)
    writer = target("torch.export")
    run = type(writer).run

    def off(by):
        monkeypatch.setattr(
            type(writer), "run", lambda *given: [each + by * scale for each in run(*given)]
        )

    off(0.5 * TOLERANCE)
    npas.export(module, tmp_path / "net.pt2", "torch.export", example=x)
    off(2 * TOLERANCE)
    with pytest.raises(ExportError, match="at most 1e-05 of that"):
        npas.export(module, tmp_path / "other.pt2", "torch.export", example=x)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt2"]


def test_memory_that_is_used_up_while_it_is_traced_is_no_fault_of_the_network(tmp_path):
    class Greedy(nn.Module):
        def forward(self, x):
            if x.sum() is not None:
                raise MemoryError
            return x

    with pytest.raises(MemoryError):
        npas.export(Greedy(), tmp_path / "net.pt2", "torch.export", example=torch.ones(2, 2))
    assert not list(tmp_path.iterdir())
