"""The GPT: equal to one that is written here from the papers, causal, flat, and never writing to an entry's input."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
import yaml
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.distributed.pipelining._backward import stage_backward_input, stage_backward_weight

from bench.engine.numerics import Numerics
from bench.engine.profile import profile
from bench.rule.optimizer.layout import FlatLayout
from bench.task.language import TOKENS
from bench.task.model.gpt import GPT
from bench.task.transformer import CausalAttention, TokenEmbedding, turned
from tests.designs import in_full

CONF = Path(__file__).parents[1] / "conf" / "model" / "gpt.yaml"
VOCABULARY, CONTEXT = 11, 7
SMALL = GPT(2, 12, 3, CONTEXT, 2, "layer", "learned", False, 0.0)
"""Two layers of three heads of four features."""
NORMS: list[Literal["layer", "rms"]] = ["layer", "rms"]
POSITIONS: list[Literal["learned", "rotary"]] = ["learned", "rotary"]
KINDS = [
    replace(SMALL, norm=norm, positions=positions, tied=tied)
    for norm, positions, tied in itertools.product(NORMS, POSITIONS, (False, True))
]


def label(model: GPT) -> str:
    return f"{model.norm}-{model.positions}-{'tied' if model.tied else 'untied'}"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def made(model: GPT, vocabulary: int = VOCABULARY) -> nn.Sequential:
    """The network, whose gains and biases of the norms are no ones and zeros."""
    network = nn.Sequential(*model.entries((model.context,), vocabulary))
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            for parameter in module.parameters():
                nn.init.normal_(parameter, 1.0, 0.3)
    return network


def tokens(model: GPT = SMALL, batch: int = 3, vocabulary: int = VOCABULARY) -> Tensor:
    return torch.randint(vocabulary, (batch, model.context))


def default() -> GPT:
    values = yaml.safe_load(CONF.read_text())
    for key in ("rates", "name", "defaults"):
        values.pop(key)
    values |= {"layers": 4, "width": 128, "context": 128, "positions": "learned"}
    model: GPT = TypeAdapter(GPT).validate_json(json.dumps(values))
    return model


# ------------------------------------------------------------------------------------------- the same, from the papers
Weights = Mapping[str, Tensor]


def plain_norm(x: Tensor, weights: Weights, prefix: str) -> Tensor:
    """Ba et al. 2016 (equation 4) where there is a bias; else Zhang and Sennrich 2019 (equation 4)."""
    if f"{prefix}.bias" not in weights:
        return x / ((x**2).mean(-1, keepdim=True) + 1e-5) ** 0.5 * weights[f"{prefix}.weight"]
    centred = x - x.mean(-1, keepdim=True)
    variance = (centred**2).mean(-1, keepdim=True)
    return centred / (variance + 1e-5) ** 0.5 * weights[f"{prefix}.weight"] + weights[f"{prefix}.bias"]


def plain_rotation(x: Tensor) -> Tensor:
    """Turn [batch, context, size] as complex numbers: times e^(i m theta_j), theta_j = 10000^(-2j / size)."""
    _, context, size = x.shape
    thetas = [10000 ** (-2 * j / size) for j in range(size // 2)]
    angles = torch.tensor([[m * theta for theta in thetas] for m in range(context)], dtype=x.dtype)
    numbers = torch.complex(x[..., 0::2], x[..., 1::2]) * torch.polar(torch.ones_like(angles), angles)
    return torch.stack((numbers.real, numbers.imag), -1).reshape(x.shape)


def plain_attention(model: GPT, x: Tensor, weights: Weights, prefix: str) -> Tensor:
    """Vaswani et al. 2017 (equation 1), head by head, with minus infinity for what comes later."""
    context, size = x.shape[1], model.width // model.heads
    later = torch.full((context, context), -math.inf, dtype=x.dtype).triu(1)
    parts = torch.split(weights[f"{prefix}.query_key_value.weight"], model.width)
    query, key, value = (x @ part.T for part in parts)
    heads = []
    for head in range(model.heads):
        q, k, v = (rows[..., head * size : (head + 1) * size] for rows in (query, key, value))
        if model.positions == "rotary":
            q, k = plain_rotation(q), plain_rotation(k)
        exponentials = (q @ k.transpose(1, 2) / math.sqrt(size) + later).exp()
        heads.append(exponentials / exponentials.sum(-1, keepdim=True) @ v)
    return torch.cat(heads, -1) @ weights[f"{prefix}.project.weight"].T


def plain(model: GPT, weights: Weights, inputs: Tensor) -> Tensor:
    """The whole network's scores [batch, context, vocabulary]; ``weights`` has the embedding's for a tied head too."""
    x = weights["0.token"][inputs]
    if model.positions == "learned":
        x = x + weights["0.position"]
    for entry in range(1, 2 * model.layers + 1, 2):
        x = x + plain_attention(model, plain_norm(x, weights, f"{entry}.norm"), weights, f"{entry}")
        hidden = plain_norm(x, weights, f"{entry + 1}.norm") @ weights[f"{entry + 1}.mlp.0.weight"].T
        active = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + active @ weights[f"{entry + 1}.mlp.2.weight"].T
    last = 2 * model.layers + 1
    return plain_norm(x, weights, f"{last}.norm") @ weights[f"{last}.weight" if not model.tied else "0.token"].T


def plain_loss(scores: Tensor, targets: Tensor) -> Tensor:
    chosen = scores.gather(-1, targets[..., None])[..., 0]
    return (scores.exp().sum(-1).log() - chosen).mean()


@pytest.mark.parametrize("model", KINDS, ids=label)
def test_it_is_what_the_papers_say(model: GPT) -> None:
    network = made(model).double()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.4)  # large enough for every term to be seen
    inputs, targets = tokens(), tokens()
    weights = {name: parameter.detach().clone().requires_grad_() for name, parameter in network.named_parameters()}
    scores, expected = network(inputs), plain(model, weights, inputs)
    assert scores.shape == (3, CONTEXT, VOCABULARY)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)
    torch.autograd.backward(F.cross_entropy(scores.flatten(0, 1), targets.flatten()))
    torch.autograd.backward(plain_loss(expected, targets))
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-4, name
        torch.testing.assert_close(parameter.grad, weights[name].grad, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("model", KINDS, ids=label)
def test_no_token_sees_a_later_one(model: GPT) -> None:
    network, inputs = made(model).double(), tokens()
    scores = network(inputs)
    for at in range(CONTEXT):
        changed = inputs.clone()
        changed[:, at] = (changed[:, at] + 1) % VOCABULARY
        other = network(changed)
        assert torch.equal(other[:, :at], scores[:, :at])
        assert not torch.equal(other[:, at], scores[:, at])
        assert at == CONTEXT - 1 or not torch.equal(other[:, -1], scores[:, -1])


def test_turned_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64).expand(2, 1, 1, 20, 8)
    rows, columns = turned(query, key)
    products = (rows @ columns.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(products[1:, 1:], products[:-1, :-1], rtol=0, atol=1e-12)
    assert len(set(products[0].tolist())) == 20
    assert products[0, 0].item() == pytest.approx((query[0, 0, 0] * key[0, 0, 0]).sum().item())


def test_angles_are_exact_in_bfloat16() -> None:
    """The numbers of far positions are no bfloat16 themselves."""
    query = torch.tensor([1.0, 0.0]).expand(1, 1, 1000, 2)
    exact, _ = turned(query, query)
    rounded, _ = turned(query.bfloat16(), query.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.004)


# --------------------------------------------------------------------------------------------------------- its entries
@pytest.mark.parametrize("model", KINDS, ids=label)
def test_it_has_no_buffers(model: GPT) -> None:
    assert list(made(model).buffers()) == []


@pytest.mark.parametrize("model", [replace(kind, tied=False) for kind in KINDS[::2]], ids=label)
def test_it_may_be_cut_anywhere(model: GPT) -> None:
    """Stages that meet in a leaf have the whole network's scores and gradients, and leave what they are given."""
    network, inputs = made(model).double(), tokens()
    whole = network(inputs)
    torch.autograd.backward((whole**2).sum())
    expected = [parameter.grad for parameter in network.parameters()]
    assert len(network) == 6
    for cut in range(1, len(network)):
        network.zero_grad()
        message = network[:cut](inputs)
        assert message.is_contiguous()
        assert message.shape == (3, CONTEXT, model.width)
        leaf = message.detach().clone().requires_grad_()
        scores = network[cut:](leaf)
        assert torch.equal(scores, whole)
        assert torch.equal(leaf, message)
        torch.autograd.backward((scores**2).sum())
        assert leaf.grad is not None
        torch.autograd.backward(message, leaf.grad)
        for (name, parameter), wanted in zip(network.named_parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, wanted, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("model", [SMALL, replace(SMALL, norm="rms", positions="rotary")], ids=label)
def test_gradients_of_weights_may_be_put_off(model: GPT) -> None:
    """The zero-bubble schedule takes a stage's backward pass in halves."""
    network, inputs = made(model).double(), tokens()
    piece = network[2:]
    leaf = network[:2](inputs).detach().requires_grad_()
    expected = torch.autograd.grad((piece(leaf) ** 2).sum(), [leaf, *piece.parameters()])
    scores = piece(leaf)
    given, groups = stage_backward_input([scores], [2 * scores.detach()], [leaf], piece.parameters())
    stage_backward_weight(piece.parameters(), groups)
    torch.testing.assert_close(given[0], expected[0])
    for parameter, wanted in zip(piece.parameters(), expected[1:], strict=True):
        torch.testing.assert_close(parameter.grad, wanted)


def test_the_sizes_are_those_counted_by_hand() -> None:
    model = default()
    assert (model.layers, model.width, model.heads, model.context, model.mlp_ratio) == (4, 128, 4, 128, 4)
    with torch.device("meta"):
        network = nn.Sequential(*model.entries((128,), 65))
    sizes = [sum(parameter.numel() for parameter in entry.parameters()) for entry in network]
    # Embeddings of tokens and positions; per layer 4 and 8 matrices of width x width, and two norms; the head's.
    attention, mlp = 4 * 128**2 + 2 * 128, 8 * 128**2 + 2 * 128
    assert sizes == [(65 + 128) * 128, *[attention, mlp] * 4, 2 * 128 + 128 * 65]
    assert sum(sizes) == 821_760
    inputs = torch.zeros(2, 128, dtype=torch.int64, device="meta")
    assert network(inputs).shape == (2, 128, 65)


def test_its_operations_are_those_counted_by_hand() -> None:
    """Two a product and sum. Attention is two products more, of all pairs of places; a lookup is none.

    A backward has two products for each of its forward's.
    """
    model = default()
    network = nn.Sequential(*model.entries((128,), 65))
    batch = torch.zeros(2, 128, dtype=torch.int64)
    numerics = Numerics(torch.device("cpu"), torch.float32, autocast=False, channels_last=False, task=TOKENS)
    layers = profile(network, batch, torch.empty(0), numerics, "counted")
    attention, mlp, head = 4 * 128**2 + 2 * 128 * 128, 8 * 128**2, 128 * 65
    assert [layer.forward for layer in layers] == [2 * 256 * count for count in (0, *[attention, mlp] * 4, head)]
    assert [layer.backward for layer in layers] == [2 * layer.forward for layer in layers]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tied": True}, 821_760 - 65 * 128),
        ({"norm": "rms"}, 821_760 - 9 * 128),
        ({"positions": "rotary"}, 821_760 - 128 * 128),
        ({"mlp_ratio": 2}, 821_760 - 4 * 4 * 128**2),
    ],
)
def test_what_the_keys_change_of_the_size(changes: dict[str, Any], expected: int) -> None:
    network = nn.Sequential(*replace(default(), **changes).entries((128,), 65))
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_it_begins_as_gpt_2_does() -> None:
    network = nn.Sequential(*default().entries((128,), 65))
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1:
            assert parameter.eq(1.0 if name.endswith("weight") else 0.0).all()
            continue
        ending = name.endswith(("project.weight", "mlp.2.weight"))
        assert parameter.std().item() == pytest.approx(0.02 / (8**0.5 if ending else 1), rel=0.03), name
        assert abs(parameter.mean().item()) < 1e-3
    first = F.cross_entropy(network(tokens(default(), 8, 65)).flatten(0, 1), torch.randint(65, (8 * 128,)))
    assert first.item() == pytest.approx(math.log(65), abs=0.1)
    assert [module for module in network.modules() if isinstance(module, nn.Linear) and module.bias is not None] == []


def test_one_weight_stays_one() -> None:
    """A tied weight is one parameter, also in a copy and after a change of type."""
    network: Any = copy.deepcopy(made(replace(SMALL, tied=True)).double()).to(torch.float32)
    assert network[0].token is network[-1].weight
    places = FlatLayout.of(network).places
    assert len(places) == len(list(network.parameters()))
    assert sum(place.shape == (VOCABULARY, 12) for place in places) == 1


@pytest.mark.parametrize("positions", POSITIONS)
def test_dropout_follows_the_seed_and_training(positions: Literal["learned", "rotary"]) -> None:
    model = replace(SMALL, dropout=0.3, positions=positions)
    network, inputs = made(model), tokens()

    def masked(entry: nn.Module, message: Tensor, seed: int) -> Tensor:
        torch.manual_seed(seed)
        output: Tensor = entry(message)
        return output

    message = inputs
    for number, entry in enumerate(network):
        last = number == len(network) - 1
        assert torch.equal(masked(entry, message, 1), masked(entry, message, 1))
        assert torch.equal(masked(entry, message, 1), masked(entry, message, 2)) == last
        entry.eval()
        assert torch.equal(masked(entry, message, 1), masked(entry, message, 2))
        message = entry(message).detach()
    without = nn.Sequential(*replace(model, dropout=0.0).entries((CONTEXT,), VOCABULARY))
    without.load_state_dict(network.state_dict())
    assert torch.equal(without(inputs), message)


def test_attention_drops_what_it_gathers_and_what_it_adds() -> None:
    """A single token sees itself alone, and so a head keeps all of it or nothing; features of a branch go one by
    one."""
    attention: Any = CausalAttention(12, 3, "layer", False, 0.5, 1)
    nn.init.eye_(attention.project.weight)
    features = torch.randn(8, 1, 12)

    def kept_features_of_heads() -> set[int]:
        """The numbers of features that a head of four keeps."""
        branch = (attention(features) - features).view(8, 3, 4)
        return set((branch != 0).sum(-1).flatten().tolist())

    attention.dropout.eval()
    assert kept_features_of_heads() == {0, 4}
    attention.eval().dropout.train()
    assert kept_features_of_heads() >= {1, 2, 3}
    assert torch.equal(attention.eval()(features), attention(features))


@pytest.mark.parametrize("model", KINDS, ids=label)
def test_features_stay_exact_under_autocast(model: GPT) -> None:
    """What passes from entry to entry and what a norm takes is float32; what a matrix makes is bfloat16."""
    network, inputs = made(replace(model, dropout=0.1)), tokens()
    seen: list[torch.dtype] = []
    narrow: list[torch.dtype] = []
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            module.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, __, output: narrow.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        message = inputs
        for entry in network[:-1]:
            message = entry(message)
            assert message.dtype == torch.float32
        loss = F.cross_entropy(network[-1](message).float().flatten(0, 1), inputs.flatten())
    torch.autograd.backward(loss)
    assert seen == [torch.float32] * 5
    assert narrow == [torch.bfloat16] * 8
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def test_fewer_tokens_than_the_context_are_taken() -> None:
    for model in KINDS:
        network, inputs = made(model).double(), tokens()
        torch.testing.assert_close(network(inputs[:, :4]), network(inputs)[:, :4])
    assert TokenEmbedding(5, 7, 4, 0.0)(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 4)


# ------------------------------------------------------------------------------------------------------- what it is not
def test_it_refuses_keys_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^width=13: must be a multiple of heads=3$"):
        replace(SMALL, width=13)
    with pytest.raises(ValueError, match=r"^width=9: positions=rotary turns pairs, and heads=3 makes an odd 3 a head$"):
        replace(SMALL, width=9, positions="rotary")
    replace(SMALL, width=9)
    values = {**vars(SMALL), "dropout": 1.0}
    with pytest.raises(ValidationError, match="less than 1"):
        TypeAdapter(GPT).validate_json(json.dumps(values))


@pytest.mark.parametrize(
    ("shape", "given"), [((3, 32, 32), "3 x 32 x 32"), ((CONTEXT + 1,), str(CONTEXT + 1)), ((CONTEXT, 2), "7 x 2")]
)
def test_it_takes_rows_of_tokens_alone(shape: Any, given: str) -> None:
    with pytest.raises(ValueError, match=rf"^context=7: takes rows of so many tokens; the data has {given}$"):
        list(SMALL.entries(shape, 10))


def test_a_weight_of_two_stages_is_refused() -> None:
    tied = replace(SMALL, tied=True)
    reason = "its embedding and its head share a weight, whose gradient is the sum of both stages'"
    expected = f"tied=true needs stages=1, not stages=2: {reason}"
    assert tied.refuses(SimpleNamespace(stages=2, pieces=2)) == expected
    assert tied.refuses(SimpleNamespace(stages=2, pieces=4)) == expected
    assert tied.refuses(SimpleNamespace(stages=1, pieces=1)) is None
    assert SMALL.refuses(SimpleNamespace(stages=2, pieces=2)) is None


def test_it_tells_what_it_sees() -> None:
    assert (GPT.name, GPT.unit, SMALL.window) == ("gpt", "token", CONTEXT)


@pytest.mark.parametrize(
    "model", [*in_full(SMALL), replace(SMALL, norm="rms", positions="rotary", tied=True)], ids=label
)
def test_it_learns(model: GPT) -> None:
    line = "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer "
    text = (line * (20_000 // len(line) + 1))[:20_000]
    letters = sorted(set(text))
    data = torch.tensor([letters.index(letter) for letter in text])
    network = nn.Sequential(*replace(model, width=24, context=16).entries((16,), len(letters)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.005)
    losses = []
    for _ in range(300):
        starts = torch.randint(len(data) - 17, (16, 1))
        rows = data[starts + torch.arange(17)]
        loss = F.cross_entropy(network(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(len(letters)), abs=0.1)
    assert sum(losses[-10:]) / 10 < 0.5
