"""A decoder from PyTorch whose cache is held as states and whose attention spans one position more at each step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import gristmill as ct

CAPACITY, WIDTH, HEADS, VOCABULARY = 24, 32, 4, 40


class Step(nn.Module):
    """One layer of attention over the filled part of a cache, with an embedding that is the output layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CAPACITY, WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, HEADS, CAPACITY, WIDTH // HEADS))

    def forward(self, token: Tensor, mask: Tensor) -> Tensor:
        length = mask.shape[-1]
        x = self.tokens(token) + self.places.weight[None, length - 1 : length]
        q, k, v = self.qkv(x).view(1, 1, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        self.get_buffer("keys")[:, :, length - 1 : length] = k
        self.get_buffer("values")[:, :, length - 1 : length] = v
        keys, values = (self.get_buffer(name)[:, :, :length] for name in ("keys", "values"))
        mixed = functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return (x + self.out(mixed.transpose(1, 2).reshape(x.shape))) @ self.tokens.weight.T


def test_a_decoder_grows_step_by_step_as_in_pytorch():
    """Two sequences in turn, each with its state, beside two copies of the module. The model is float16-typed."""
    torch.manual_seed(0)
    module = Step().eval()
    length = torch.export.Dim("length", min=2, max=CAPACITY - 1)
    example = (torch.tensor([[1]]), torch.zeros(1, 1, 1, 8))
    exported = torch.export.export(module, example, dynamic_shapes=({}, {3: length}))
    model = ct.convert(exported, minimum_deployment_target=ct.target.iOS18, outputs=[ct.TensorType(name="logits")])
    token_name, mask_name = (item.name for item in model.inputs)
    states = [model.make_state() for _ in range(2)]
    modules = [Step().eval() for _ in range(2)]
    for copy in modules:
        copy.load_state_dict(module.state_dict())
        copy.get_buffer("keys").zero_(), copy.get_buffer("values").zero_()
    rng = np.random.default_rng(0)
    for position in range(2, CAPACITY):
        for state, copy in zip(states, modules, strict=True):
            token = rng.integers(0, VOCABULARY, (1, 1)).astype(np.int32)
            mask = rng.normal(size=(1, 1, 1, position)).astype(np.float32)
            got = model.predict({token_name: token, mask_name: mask}, state)["logits"]
            with torch.no_grad():
                wanted = copy(torch.from_numpy(token).long(), torch.from_numpy(mask)).numpy()
            # Some ten roundings to float16 on the way; logits are sums of 32 products.
            np.testing.assert_allclose(got, wanted, rtol=1e-2, atol=1e-2 * np.abs(wanted).max())
            for name in ("keys", "values"):
                held = next(n for n in state.names if name in n)
                expected = copy.get_buffer(name).numpy()
                np.testing.assert_allclose(state.read_state(held), expected, rtol=1e-2, atol=1e-2)
    variants = [call.variant for call in model.profile({token_name: token, mask_name: mask}, states[0]).calls]
    assert variants.count("in place") == 2
    assert "reference" not in [
        call.kernel for call in model.profile({token_name: token, mask_name: mask}, states[0]).calls
    ]
