"""npas.fit: a user's module on a user's data, trained as a job trains."""

import copy

import npas
import numpy as np
import pytest
import torch
from npas.errors import DataError, InvalidSpecError, NonFiniteLossError
from npas.train.examples import Loaded, examples
from npas.train.outputs import Answers, logits_of
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.own_modules import MODULES

SHORT = {"epochs": 3, "batch_size": 16, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def data():
    """Rows of two numbers, and in which quarter of the plane they lie."""
    x = torch.randn(160, 2, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)
    )


def weights(model):
    return [each.detach().clone() for each in model.parameters()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_fit_trains_a_shared_module_and_says_how_well(data):
    module = net()
    plan = npas.plan(module, budget={"fraction": 0.7}, example=(data[0],))
    model = npas.share(module, plan)
    rows = []
    done = npas.fit(
        model, data, data, progress=rows.append, **SHORT | {"epochs": 30, "learning_rate": 0.03}
    )
    assert done.rows == tuple(rows)
    assert done.test_accuracy > 0.75
    assert [row.epoch for row in rows] == [*range(1, 31)]
    assert rows[-1].train_loss < rows[0].train_loss / 1.5
    assert rows[-1].learning_rate == pytest.approx(0.03 * 0.2**3)
    assert not model.training
    with torch.no_grad():
        right = (model(data[0]).argmax(1) == data[1]).float().mean().item()
    assert right == pytest.approx(done.test_accuracy)
    best = max(row.validation_accuracy for row in rows)
    assert rows[done.best_epoch - 1].validation_accuracy == best


def test_every_form_of_the_same_examples_trains_the_same(data):
    x, y = data
    forms = [
        (x, y),
        (x.numpy(), y.numpy()),
        (x.numpy().astype(np.float64), y.numpy().astype(np.int32)),
        ({"input": x}, y),
        ((x,), y),
        TensorDataset(x, y),
        list(zip(x, y, strict=True)),
    ]
    found = []
    for form in forms:
        model = net()
        before = torch.get_rng_state()
        npas.fit(model, form, **SHORT)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(weights(model))
    assert all(equal(each, found[0]) for each in found)
    other = net()
    npas.fit(other, forms[0], seed=1, **SHORT)
    assert not equal(weights(other), found[0])


def test_loader_gives_its_own_batches(data):
    """In the loader's order, at the schedule's rates, as a plain loop would do it."""
    model, plain = net(), net()
    loader = DataLoader(TensorDataset(*data), batch_size=40)
    done = npas.fit(model, loader, epochs=2, schedule="constant", weight_decay=0)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            functional.cross_entropy(plain(x), y).backward()
            optimizer.step()
    for one, other in zip(weights(model), weights(plain), strict=True):
        torch.testing.assert_close(one, other)
    assert {row.validation_loss for row in done.rows} == {None}
    assert (done.best_epoch, done.test_loss, done.test_accuracy) == (2, None, None)


def test_shuffled_loader_follows_the_seed(data):
    found = []
    for _ in range(2):
        model = net()
        loader = DataLoader(TensorDataset(*data), batch_size=40, shuffle=True)
        npas.fit(model, loader, epochs=2, validation=data)
        found.append(weights(model))
    assert equal(*found)


def test_a_loss_of_ones_own_chooses_by_itself(data):
    x, _ = data
    wanted = x.sum(1, keepdim=True)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    done = npas.fit(
        model, (x, wanted), (x, wanted), loss=functional.mse_loss, **SHORT | {"epochs": 8}
    )
    assert done.test_accuracy is None
    assert {row.train_accuracy for row in done.rows} == {None}
    losses = [row.validation_loss for row in done.rows]
    assert losses[done.best_epoch - 1] == min(losses) < losses[0]
    assert done.test_loss < 0.5


def test_several_inputs_and_outputs_that_hold_logits():
    class Answer:
        def __init__(self, logits):
            self.logits = logits

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = MODULES["two-inputs"][0]()

        def forward(self, image, rows):
            return Answer(self.inner(image, rows=rows))

    inputs = {"image": torch.randn(20, 1, 9, 9), "rows": torch.randn(20, 7)}
    y = torch.arange(20) % 3
    batches = [{**{k: v[:10] for k, v in inputs.items()}, "labels": y[:10]}]
    for given in ((inputs, y), (tuple(inputs.values()), y), DataLoader(batches, batch_size=None)):
        done = npas.fit(Wrapped(), given, epochs=1, batch_size=8, learning_rate=0.01)
        assert 0 <= done.rows[0].train_accuracy <= 1
    assert logits_of(3) is None


def test_several_networks_on_one_bank_are_trained_together(data):
    modules = {"a": net(0), "b": net(1)}
    plan = npas.plan(modules, budget={"fraction": 0.6})
    model = npas.share(modules, plan)
    before = weights(model)
    done = npas.fit(model, data, data, **SHORT | {"epochs": 20})
    assert done.test_accuracy > 0.8
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    with pytest.raises(InvalidSpecError, match="several networks are trained on one input"):
        npas.fit(model, ({"x": data[0]}, data[1]), epochs=1)


def test_options_are_those_of_a_job(data):
    images = torch.randn(40, 3, 8, 8), torch.arange(40) % 4
    looking = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 4))
    npas.fit(looking, images, epochs=1, crop_padding=1, flip=True, cutout=3, warmup_epochs=0.5)
    npas.fit(net(), data, epochs=1, balance="weights", optimizer="adamw", label_smoothing=0.1)
    found = []
    for parts in (1, 4):
        model = net()
        npas.fit(model, data, micro_batches=parts, precision="float32", **SHORT)
        found.append(weights(model))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert npas.fit(net(), data, precision="bfloat16", **SHORT).rows[-1].train_loss < 2


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epoch": 3}, "option epoch of fit: there is no such field.*epochs"),
        ({"batch_size": 1}, "option batch_size of fit"),
        ({"distillation": "dense"}, "distillation names a teacher .* give teacher=module"),
        ({"distillation": {"weight": 0.5}}, "give teacher=module"),
        ({"teacher": 3}, "teacher is a int: give a trained module"),
        ({"teacher": net(), "loss": functional.cross_entropy}, "leave out loss"),
        ({"teacher": nn.Linear(2, 3)}, r"teacher returns \(\d+, 3\), and the module \(\d+, 4\)"),
        ({"teacher": nn.Linear(3, 4)}, r"the teacher does not run on inputs 0: .*, 2\)"),
        ({"teacher": nn.LSTM(2, 4)}, "the teacher returns a tuple: give one that returns logits"),
        ({"loss": "mse"}, "loss is a str: give a function"),
        ({"loss": lambda out, y: functional.mse_loss(out, y[:1])}, "loss does not run on torch"),
        ({"loss": lambda out, _: out.detach().sum()}, "no gradient comes from the loss"),
        ({"progress": 3}, "progress is a int: give a function"),
        ({"seed": "one"}, "seed is 'one': give a whole number"),
        ({"micro_batches": 1.5}, "micro_batches is 1.5: give a whole number"),
        ({"ensemble": {"mutual": 0.5}}, "ensemble is for jobs"),
        ({"flip": True}, "are for one input of images"),
        ({"balance": "weights", "loss": functional.cross_entropy}, "balance weighs the classes"),
        ({"loss": lambda out, _: out}, r"loss returned a Tensor of shape \(\d+, 4\)"),
        ({"loss": lambda out, _: 0.0 * out.sum().item()}, "loss returned a float"),
    ],
)
def test_options_that_do_not_suit_are_refused(data, options, match):
    with pytest.raises(InvalidSpecError, match=match):
        npas.fit(net(), data, **{"epochs": 1} | options)


X, Y = torch.randn(8, 2), torch.arange(8) % 4
WRONG = {
    "a path": ("data.npz", "train is a str, of unknown length or form"),
    "a function": (lambda: (X, Y), "train is a function, of unknown length or form"),
    "nothing": ((X[:0], Y[:0]), "train has 0 examples; give at least 2"),
    "no items": ([], "train has 0 examples; give at least 2"),
    "no labels": ((X, None), "the labels of train is a NoneType"),
    "a generator": (((X, Y) for _ in range(2)), "train is a generator, of unknown length"),
    "one tensor": (X, "train is a Tensor"),
    "a triple": ((X, Y, Y), "train is not pairs of inputs and labels, but a tuple of 3"),
    "lengths": ((X, Y[:4]), "train has 4 labels, and 8 examples of input 0"),
    "bytes": ((X.byte(), Y), "input 0 of train is bytes"),
    "texts": ((["a", "b"], Y), "input 0 of train is a str, not a tensor"),
    "objects": ((np.array([None]), Y), "input 0 of train is a ndarray, not a tensor"),
    "a lone example": ((X[:1], Y[:1]), "train has 1 examples; give at least 2"),
    "two examples": ((X[:2], Y[:2]), "too few to hold some out"),
    "no class": ((X, Y + 1), "label 4 is no class of 4"),
    "items": ([(X[0], object())] * 4, "train holds what cannot be put together"),
    "no batch": (DataLoader(TensorDataset(X, Y), batch_size=9, drop_last=True), "gave no batch"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_examples_of_another_form_are_refused(kind):
    given, match = WRONG[kind]
    with pytest.raises(DataError, match=match):
        npas.fit(net(), given, epochs=1)


def test_modules_and_labels_that_do_not_fit_are_refused():
    with pytest.raises(InvalidSpecError, match=r"returns .* \(\d+, 4\) for labels torch.float32"):
        npas.fit(net(), (X, X[:, :1]), epochs=1)
    wide, whole = torch.randn(8, 3), X.double()
    for x, match in (
        (wide, r"inputs 0: torch.float32 \(\d, 3\)"),
        (whole, "with weights torch.float32"),
    ):
        with pytest.raises(InvalidSpecError, match=f"the module does not run on .*{match}"):
            npas.fit(net(), (x, Y), epochs=1)
        with pytest.raises(InvalidSpecError, match=f"the module does not run on .*{match}"):
            npas.fit(net(), (X, Y), (x, Y), epochs=1)
    with pytest.raises(DataError, match="label 4 is no class of 4"):
        npas.fit(net(), (X, Y), (X, Y + 2), epochs=1)
    with pytest.raises(DataError, match="balance counts classes, and a label is -100"):
        npas.fit(net(), (X, Y.clone().index_fill(0, torch.tensor([1]), -100)), balance="weights")
    with pytest.raises(InvalidSpecError, match="is on the meta device"):
        npas.fit(net().to("meta"), (X, Y))
    with pytest.raises(InvalidSpecError, match="cannot be trained: give a module"):
        npas.fit(3, (X, Y))
    with pytest.raises(InvalidSpecError, match="no parameter that is trained"):
        npas.fit(net().requires_grad_(False), (X, Y))
    with pytest.raises(InvalidSpecError, match="is of a lazy layer"):
        npas.fit(nn.LazyLinear(4), (X, Y))
    with pytest.raises(NonFiniteLossError, match="look for NaN in the data"):
        npas.fit(net(), (X * float("nan"), Y), epochs=1)


def test_weights_that_the_last_step_has_spoiled_are_not_returned_as_trained():
    """Its loss is of the weights before it."""
    module = net()
    weight = next(module.parameters())
    weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(NonFiniteLossError, match="became infinite or NaN"):
        npas.fit(module, (X, Y), epochs=1, batch_size=len(X))


def test_only_buffers_that_are_infinite_from_the_start_may_be():
    module = net()
    module.register_buffer("mask", torch.full((3,), -torch.inf))
    npas.fit(module, (X, Y), epochs=1)
    module.register_buffer("seen", torch.zeros(1))
    module.register_forward_pre_hook(
        lambda *_: module.register_buffer("seen", torch.full((1,), torch.nan))
    )
    with pytest.raises(NonFiniteLossError, match="seen became infinite or NaN"):
        npas.fit(module, (X, Y), epochs=1)


def test_ignored_labels_count_nowhere():
    answers = Answers(loss=None, smoothing=0.0, precision=torch.float32)
    labels = torch.tensor([0, -100, 1])
    logits = torch.tensor([[9.0, 0, 0, 0], [0, 9, 0, 0], [9, 0, 0, 0]])
    loss, counts = answers(nn.Identity(), {"0": logits}, labels)
    assert counts.tolist() == [1, 2]
    torch.testing.assert_close(loss, functional.cross_entropy(logits, labels))


def test_examples_are_seen_once_an_epoch_in_even_batches():
    chosen = examples((torch.arange(10.0)[:, None], torch.arange(10)), "train")
    sizes, seen = [], []
    for batch in chosen.epoch(4, 0, 1):
        sizes.append(len(batch))
        seen += batch.labels.tolist()
        assert torch.equal(batch.inputs["0"][:, 0].long(), batch.labels)
    assert sorted(seen) == [*range(10)] != seen
    assert sizes == [4, 3, 3]
    assert isinstance(examples(DataLoader(TensorDataset(X, Y)), "test"), Loaded)


def test_a_class_that_is_not_trained_on_counts_nothing():
    few = X, Y % 3
    done = npas.fit(net(), few, (X, Y), validation=(X, Y), epochs=1, balance="weights")
    assert done.test_loss > 0


def test_a_teacher_is_learned_from_and_left_as_it_is(data):
    x, y = data
    teacher = net(3)
    npas.fit(teacher, data, **SHORT | {"epochs": 20, "learning_rate": 0.05})
    teacher.train()
    before = weights(teacher)
    wrong = torch.randint(4, y.shape, generator=torch.Generator().manual_seed(1))
    found = {}
    for weight in (0.0, 1.0):
        pupil = net(4)
        npas.fit(
            pupil,
            (x, wrong),
            teacher=teacher,
            distillation={"weight": weight, "temperature": 2},
            keep="last",
            **SHORT | {"epochs": 20, "learning_rate": 0.05},
        )
        found[weight] = (pupil(x).argmax(1) == y).float().mean().item()
    assert found[1.0] > 0.75 > found[0.0]
    assert equal(weights(teacher), before)
    assert teacher.training
    alone, beside = net(5), net(5)
    npas.fit(alone, data, **SHORT)
    npas.fit(beside, data, teacher=teacher, distillation={"weight": 0.0}, **SHORT)
    assert equal(weights(alone), weights(beside))
    with pytest.raises(InvalidSpecError, match="teacher has parameters of the module"):
        npas.fit(alone, data, teacher=nn.Sequential(alone), **SHORT)


def test_a_plan_in_bytes_is_trained_with_the_weights_of_its_file(data, tmp_path):
    """As jobs do: the best epoch, and its grade, are of rounded weights."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
    )
    plan = npas.plan(module, budget={"bytes": 2_200})
    assert plan.file.step > 0
    model = npas.share(module, plan)
    done = npas.fit(model, data, data, **SHORT | {"epochs": 10, "learning_rate": 0.02})
    assert done.best_epoch > 7
    assert model.origin.squares.keys() == dict(model.named_parameters()).keys()
    path = tmp_path / "model.safetensors"
    npas.save(model, path, bytes=2_200)
    assert path.stat().st_size <= 2_200
    again = npas.load(path, into=copy.deepcopy(model).materialise()["main"])
    with torch.no_grad():
        right = (again(data[0]).argmax(1) == data[1]).float().mean().item()
    assert right == pytest.approx(done.test_accuracy, abs=0.05)
    assert right > 0.6
