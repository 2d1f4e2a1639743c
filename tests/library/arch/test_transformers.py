"""Transformers for images and for text: their published sizes, what they read, how they share."""

import npas
import pytest
import torch
from npas import arch, registry
from npas.errors import InfeasibleBudgetError, InvalidSpecError
from npas.spec import ArchitectureSpec, BudgetSpec, PlanRequest
from torch import nn

PUBLISHED = [
    ("vit-12-768-16", 1000, 224, 86_567_656, "ViT-B/16"),
    ("vit-12-384-16", 1000, 224, 22_050_664, "DeiT-S"),
    ("vit-12-192-16", 1000, 224, 5_717_416, "DeiT-Ti"),
    ("text-encoder-12-768", 2, 512, 109_482_240 - 2 * 768 + 2 * 768 + 2, "BERT-base"),
    ("text-encoder-24-1024", 2, 512, 335_141_888 - 2 * 1024 + 2 * 1024 + 2, "BERT-large"),
]
"""Name, classes, image size or longest text, parameters. BERT is counted without a head and with
two segment embeddings; here it is the other way round."""

SMALL = {
    "vit": ArchitectureSpec(name="vit-3-16-4", input_size=8),
    "text": ArchitectureSpec(
        name="text-encoder-3-16", input_size=12, options={"vocabulary": 40, "heads": 2}
    ),
}
both = pytest.mark.parametrize("kind", SMALL)


@pytest.mark.parametrize(("name", "classes", "size", "parameters", "published"), PUBLISHED)
def test_transformers_have_their_published_sizes(name, classes, size, parameters, published):
    spec = ArchitectureSpec(name=name, num_classes=classes, input_size=size)
    found = sum(p.numel() for p in npas.build(spec, device="meta").parameters())
    assert found == parameters, published


@pytest.mark.slow
def test_vision_transformer_does_what_torchvisions_does():
    torch.manual_seed(0)
    own = npas.build(ArchitectureSpec(name="vit-12-768-16", num_classes=1000, input_size=32))
    spec = ArchitectureSpec(name="torchvision:vit_b_16", input_size=32)
    other = npas.build(spec).eval()
    with torch.no_grad():
        for mine, theirs in zip(_in_order(own), _in_order_of_torchvision(other), strict=True):
            theirs.copy_(mine)
        x = torch.randn(1, 3, 32, 32)
        torch.testing.assert_close(own.eval()(x), other(x), rtol=1e-4, atol=1e-4)


def _tensors(*modules):
    return [p for module in modules for p in module.parameters()]


def _in_order(network):
    found = [network.class_step, network.positions, *_tensors(network.patches)]
    for layer in network.layers:
        found += _tensors(layer.norm1, layer.attention, layer.norm2, layer.linear1, layer.linear2)
    return found + _tensors(network.norm, network.head)


def _in_order_of_torchvision(network):
    encoder = network.encoder
    found = [network.class_token, encoder.pos_embedding, *_tensors(network.conv_proj)]
    for layer in encoder.layers:
        found += _tensors(layer.ln_1, layer.self_attention, layer.ln_2, layer.mlp)
    return found + _tensors(encoder.ln, network.heads)


def shared_of(kind, method="block_mix", fraction=0.5, **keywords):
    spec = SMALL[kind]
    try:
        plan = npas.plan(spec, budget=BudgetSpec(fraction=fraction), method=method, **keywords)
    except InfeasibleBudgetError as error:
        plan = npas.plan(spec, budget=error.minimum, method=method, **keywords)
    made = plan.networks[0].architecture
    shared = npas.share(npas.build(made, seed=1), plan, seed=1)
    return shared, arch.example_input(made, num_examples=8)


@both
@pytest.mark.parametrize("method", registry.names("npas.methods"))
def test_transformer_is_shared_trained_by_hand_and_saved(kind, method, tmp_path, recount):
    shared, x = shared_of(kind, method)
    assert recount(shared) == shared.plan.ledger.total <= shared.plan.ledger.budget
    y = torch.arange(8) % 2
    optimizer = torch.optim.Adam(shared.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = nn.functional.cross_entropy(shared(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    npas.save(shared, tmp_path / "file")
    loaded = npas.load(tmp_path / "file")
    with torch.no_grad():
        assert torch.equal(loaded(x), shared.eval()(x))
        plain = npas.load(tmp_path / "file", materialise=True)
        # Products of unaligned memory may differ in their last bits.
        torch.testing.assert_close(plain(x), loaded(x), rtol=1e-4, atol=1e-5)


def test_text_embeddings_share_when_asked(recount):
    names = {"tokens.weight", "positions.weight"}
    for asked in (False, True):
        shared, x = shared_of("text", share_embeddings=asked, fraction=0.01)
        made = {slot.layer for group in shared.plan.groups for slot in group.slots}
        private = {layer.layer for layer in shared.plan.private}
        assert names <= made | private if asked else not names & (made | private)
        assert recount(shared) == shared.plan.ledger.total
        shared(x).sum().backward()
    assert names <= made


def test_padding_is_not_looked_at():
    network = npas.build(SMALL["text"], seed=1).eval()
    words = torch.tensor([[5, 7, 9]])
    padded = torch.tensor([[5, 7, 9, 0, 0, 0]])
    with torch.no_grad():
        torch.testing.assert_close(network(words), network(padded))
        assert not torch.allclose(network(words), network(torch.tensor([[5, 7, 9, 3]])))
        assert network(torch.zeros(1, 4, dtype=torch.int64)).isfinite().all()


def test_first_layer_is_the_stem_and_the_head_the_classifier():
    for kind, stem in (
        ("vit", {"patches.weight"}),
        ("text", {"tokens.weight", "positions.weight"}),
    ):
        networks = npas.plan(SMALL[kind], method="dense").networks
        roles = {}
        for layer in arch.layer_table(networks, embeddings=True).layers:
            roles.setdefault(layer.role, set()).add(layer.name)
        assert roles["stem"] == stem
        assert "head.weight" in roles["classifier"]
        assert len(roles["body"]) == 3 * 4


@pytest.mark.parametrize(
    ("spec", "field", "match"),
    [
        ({"name": "vit-6-128-5", "input_size": 32}, "input_size", "multiple of its patch, 5"),
        ({"name": "vit-6-100-4", "options": {"heads": 3}}, "options/heads", "heads 3 must divide"),
        ({"name": "vit-6-9999-4"}, "name", "nearest is vit-6-8192-4"),
        ({"name": "text-encoder-0-64"}, "name", "nearest is text-encoder-1-64"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(spec, field, match):
    with pytest.raises(InvalidSpecError, match=match) as caught:
        npas.plan(ArchitectureSpec.model_validate(spec))
    assert caught.value.field == f"/architecture/{field}"


def test_vision_transformer_takes_the_datasets_size_where_patches_fit():
    """Digits have 8 pixels, which patches of 4 divide; patches of 16 make them 224."""
    for name, size in (("vit-6-64-4", 8), ("vit-12-192-16", 224)):
        plan = npas.plan(name, dataset="digits", method="dense")
        assert plan.networks[0].architecture.input_size == size


def test_dataset_of_images_is_refused_for_text():
    request = PlanRequest.model_validate(
        {"architecture": "text-encoder-4-128", "dataset": "digits", "budget": {"fraction": 0.9}}
    )
    with pytest.raises(InvalidSpecError, match="reads tokens, and all datasets are im") as caught:
        npas.plan(request)
    assert caught.value.field == "/architecture/name"
