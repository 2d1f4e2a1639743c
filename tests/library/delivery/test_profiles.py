"""Profiles: what they say of a network, against the network itself."""

import math

import npas
import pytest
import torch
from npas import arch
from npas.arch.footprint import footprint
from npas.errors import CheckpointError, InvalidSpecError, UnknownNameError
from torch import nn

NAMES = ["resnet-8", "densenet-10-4", "vit-2-16-4", "text-encoder-2-16", "wrn-10-1"]


def spec_of(name):
    return arch.resolve(arch.as_spec(name))


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_network(name):
    found = npas.profile(name)
    model = npas.build(name)
    assert found.parameters == found.dense_parameters
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.macs == footprint(spec_of(name), batch=2).macs
    assert sum(row.macs for row in found.rows) == found.macs
    assert sum(row.parameters for row in found.rows) == found.parameters
    state = model.state_dict().values()
    assert found.weight_bytes == sum(t.numel() * t.element_size() for t in state)


def test_a_plan_tells_what_reads_banks(tmp_path):
    plan = npas.plan("resnet-8", budget=40_000)
    found = npas.profile(plan)
    assert (found.parameters, found.dense_parameters) == (plan.ledger.total, plan.ledger.dense)
    slots = {slot.layer.rpartition(".")[0] for group in plan.groups for slot in group.slots}
    assert {row.layer for row in found.rows if row.reads} == slots
    banks = plan.ledger.templates + plan.ledger.coefficients
    assert sum(row.own_parameters for row in found.rows) + banks == plan.ledger.total
    path = tmp_path / "net.safetensors"
    npas.save(npas.share(npas.build("resnet-8"), plan), path)
    of_file = npas.profile(path)
    assert of_file.file_bytes == path.stat().st_size > of_file.weight_bytes
    assert of_file.rows == found.rows == npas.profile(str(path)).rows


def test_peak_memory_of_a_chain_is_what_stands_side_by_side():
    layers = [{"kind": "conv", "channels": n} for n in (4, 6, 2)]
    ending = [{"kind": "pool", "function": "global"}, {"kind": "linear"}]
    sizes = {"input_size": 10, "input_channels": 3, "num_classes": 5}
    found = npas.profile(arch.as_spec({"name": "declared", "layers": layers + ending, **sizes}))
    # The caller holds the input; of the rest a layer needs what it reads and what it writes.
    area = 4 * 10 * 10
    assert found.peak_activation_bytes == area * (3 + 4 + 6)


def test_a_residual_holds_its_input():
    """Two layers inside a residual: three maps of the same size are alive at once."""
    found = {row.layer: row.peak_bytes for row in npas.profile("resnet-8").rows}
    map_bytes = 4 * 16 * 32 * 32
    assert found["stages.0.0.conv2"] >= 3 * map_bytes


def test_several_networks_have_rows_each():
    specs = [
        npas.NetworkSpec(name=name, architecture=npas.ArchitectureSpec(name=architecture))
        for name, architecture in {"a": "resnet-8", "b": "resnet-14"}.items()
    ]
    found = npas.profile(npas.plan(specs, budget={"fraction": 0.4}))
    assert [row.network for row in found.rows] == sorted(row.network for row in found.rows)
    alone = [npas.profile(name) for name in ("resnet-8", "resnet-14")]
    assert found.macs == sum(each.macs for each in alone)
    assert found.peak_activation_bytes == max(each.peak_activation_bytes for each in alone)
    assert "a: conv" in str(found)


def test_the_table_has_a_line_for_each_layer_and_the_sum():
    found = npas.profile("resnet-8")
    lines = str(found).splitlines()
    assert len(lines) == len(found.rows) + 2
    assert f"{found.macs:,} MACs" in lines[-1]


def test_output_shapes_are_those_of_a_real_pass():
    model, shapes = npas.build("resnet-8").eval(), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape[1:])})
            )
    model(torch.zeros(1, 3, 32, 32))
    rows = {row.layer: row for row in npas.profile("resnet-8").rows}
    for name, shape in shapes.items():
        assert rows[name].output_shape == shape
        assert rows[name].peak_bytes >= 4 * math.prod(shape)


def test_what_is_neither_file_nor_architecture_is_refused(tmp_path):
    with pytest.raises(UnknownNameError):
        npas.profile("no-such-network")
    with pytest.raises(FileNotFoundError):
        npas.profile(tmp_path / "nothing.safetensors")


class Own(nn.Module):
    """Four layers alike, a parameter that no module inside has, and a layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4))
        self.norm, self.last = nn.BatchNorm2d(8), nn.Linear(8, 5)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        x = self.first(x)
        for layer in (*self.middle, self.middle[0]):
            x = torch.relu(layer(x))
        return self.last(self.norm(x).mean((2, 3))) * self.scale


X = torch.ones(1, 3, 8, 8)


def test_a_module_of_ones_own_is_run_for_its_plan_and_its_file(tmp_path):
    plan = npas.plan(Own(), budget={"bytes": 2_600}, method="block_mix", example=(X,))
    own, path = Own().train(), tmp_path / "net.safetensors"
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    found = npas.profile(plan, into=own, example=(X,))
    assert own.training
    assert all(torch.equal(tensor, before[n]) for n, tensor in own.state_dict().items())
    assert found.macs == plan.networks[0].architecture.module.macs
    assert sum(row.macs for row in found.rows) == found.macs
    assert (found.parameters, found.dense_parameters) == (plan.ledger.total, plan.ledger.dense)
    assert sum(row.parameters for row in found.rows) == plan.ledger.dense
    assert [row.layer for row in found.rows].count("middle.0") == 2
    assert found.rows[-1].own_parameters == 1  # the scale, of the whole module
    model = npas.share(own, plan)
    npas.save(model, path)
    of_file = npas.profile(path, into=Own(), example={"x": X})
    assert of_file.rows == found.rows
    assert of_file.file_bytes == path.stat().st_size <= of_file.budget_bytes == 2_600


def test_a_module_that_shares_nothing_is_profiled_for_one_example_of_many():
    one, four = (npas.profile(Own(), example=X.repeat(count, 1, 1, 1)) for count in (1, 4))
    assert one.rows == four.rows
    assert one.parameters == one.dense_parameters == sum(p.numel() for p in Own().parameters())
    area = 4 * 8 * 8
    assert {row.layer: row.peak_bytes for row in one.rows}["middle.3"] == area * (3 + 8 + 8)


def test_several_modules_are_given_by_name():
    specs = {"a": Own(), "b": nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))}
    examples = {"a": X, "b": torch.ones(1, 6)}
    plan = npas.plan(specs, budget={"fraction": 0.9}, example=examples)
    found = npas.profile(plan, into=specs, example=examples)
    macs = {name: npas.profile(each, example=examples[name]).macs for name, each in specs.items()}
    assert found.macs == sum(macs.values())
    with pytest.raises(InvalidSpecError, match="by name"):
        npas.profile(plan, into=specs, example={"a": X})


def test_what_a_module_needs_to_be_profiled_is_said():
    plan = npas.plan(Own(), method="dense")
    for given in ({}, {"into": Own()}, {"example": (X,)}):
        with pytest.raises(InvalidSpecError, match=r"into=MyNet\(\), example=\(x"):
            npas.profile(plan, **given)
    with pytest.raises(InvalidSpecError, match=r"profile\(MyNet\(\), example="):
        npas.profile(Own())
    with pytest.raises(CheckpointError, match="the plan is of another module"):
        npas.profile(plan, into=nn.Linear(2, 2), example=(X,))
    with pytest.raises(InvalidSpecError, match="does not run on the example"):
        npas.profile(plan, into=Own(), example=(X[:, :2],))
    with pytest.raises(InvalidSpecError, match="modules of your own"):
        npas.profile("resnet-8", example=(X,))


def test_a_plan_in_bytes_tells_them():
    plan = npas.plan("resnet-8", budget={"bytes": 9_000})
    found = npas.profile(plan)
    assert (found.budget_bytes, found.file_bytes) == (9_000, None)
    assert "at most in a file: 9,000" in str(found)
    assert npas.profile(npas.plan("resnet-8")).budget_bytes is None
    assert npas.profile(npas.share(npas.build("resnet-8"), plan)) == found
