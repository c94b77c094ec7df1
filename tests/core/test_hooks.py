"""Hooks: outputs of every form are captured and replaced, and nothing stays behind."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import Tensor, nn

from sci_interp.errors import SciInterpError, UnknownNameError
from sci_interp.hooks import capture, layer_names, replace

Named = namedtuple("Named", ["states", "weights"])


class Output(OrderedDict):
    """Stands for the ordered mappings that transformers' models return."""


WRAPPERS = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, "rest"),
    "list": lambda x: [x, "rest"],
    "named tuple": lambda x: Named(x, "rest"),
    "mapping": lambda x: {"states": x, "weights": "rest"},
    "model output": lambda x: Output(states=x, weights="rest"),
}


class Layer(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x: Tensor):
        return self.wrap(x + 1)


def first(output):
    if isinstance(output, dict):
        return output["states"]
    return output if isinstance(output, Tensor) else output[0]


class Network(nn.Module):
    def __init__(self, wrap) -> None:
        super().__init__()
        self.block = nn.Sequential(OrderedDict(inner=Layer(wrap)))
        self.last = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.block(x)
        return first(self.last) * 2


@pytest.mark.parametrize("form", WRAPPERS)
def test_outputs_of_every_form_are_captured_and_replaced(form):
    network, x = Network(WRAPPERS[form]), torch.arange(6.0).reshape(1, 2, 3)
    with capture(network, ["block.inner", "block"]) as found:
        assert found == {}
        network(x)
    assert torch.equal(found["block.inner"], x + 1)
    assert torch.equal(found["block"], x + 1)
    with replace(network, "block.inner", lambda h: h * 0 - 1):
        assert torch.equal(network(x), torch.full_like(x, -2))
    assert type(network.last) is type(WRAPPERS[form](x))
    if form != "tensor":
        rest = network.last["weights"] if isinstance(network.last, dict) else network.last[1]
        assert rest == "rest"


def test_hooks_are_removed_even_after_an_error():
    network, x = Network(WRAPPERS["tuple"]), torch.ones(1, 2, 3)
    plain = network(x)
    with pytest.raises(RuntimeError, match="stop"), capture(network, ["block.inner"]) as found:
        raise RuntimeError("stop")
    with (
        pytest.raises(RuntimeError, match="stop"),
        replace(network, "block.inner", torch.zeros_like),
    ):
        raise RuntimeError("stop")
    assert torch.equal(network(x), plain)
    assert found == {}
    assert not any(module._forward_hooks for module in network.modules())


def test_the_identity_replaces_nothing_and_gradients_pass():
    network, x = Network(WRAPPERS["tensor"]), torch.ones(1, 2, 3, requires_grad=True)
    with replace(network, "block", lambda h: h), capture(network, ["block"]) as found:
        network(x).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))
    assert found["block"].requires_grad


def test_a_replacement_takes_the_dtype_of_the_original():
    network, x = Network(WRAPPERS["tensor"]), torch.ones(1, 2, 3, dtype=torch.bfloat16)
    with replace(network, "block", lambda h: h.double()):
        assert network(x).dtype == torch.bfloat16


def test_an_unknown_layer_lists_the_layers():
    network = Network(WRAPPERS["tensor"])
    assert layer_names(network) == ["block", "block.inner"]
    with pytest.raises(UnknownNameError, match=r"'blok'.*block, block\.inner.*mean 'block'"):
        capture(network, ["blok"]).__enter__()
    with pytest.raises(UnknownNameError, match="there is no layer ''"):
        replace(network, "", torch.zeros_like).__enter__()


def test_an_unknown_second_layer_leaves_no_hook_on_the_first():
    network = Network(WRAPPERS["tensor"])
    with pytest.raises(UnknownNameError):
        capture(network, ["block", "nothing"]).__enter__()
    assert not network.block._forward_hooks


@pytest.mark.parametrize("value", [(), {}, None, ("text",)])
def test_a_layer_without_a_tensor_is_refused(value):
    layer = Layer(lambda x: value)
    network = nn.Sequential(layer)
    with capture(network, ["0"]), pytest.raises(SciInterpError, match=r"'0' gives .* no tensor"):
        network(torch.ones(1))


@pytest.mark.parametrize("wrong", [lambda h: h[..., :1], lambda h: None])
def test_a_replacement_of_another_shape_is_refused(wrong):
    network = Network(WRAPPERS["tensor"])
    with replace(network, "block", wrong), pytest.raises(SciInterpError, match=r"\(1, 2, 3\)"):
        network(torch.ones(1, 2, 3))
