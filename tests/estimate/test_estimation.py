import copy
import re

import pytest
import torch
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, T5Config

from ftlib.errors import AdapterWarning, ModelError
from ftlib.estimate.estimation import architecture, estimate, known_architectures
from ftlib.estimate.memory_tracker import Memory
from ftlib.models.loading import save_model
from ftlib.models.trainable import add_lora
from tests.families import families, tiny_causal

# Counts of the weights that the owners publish with the models.
PUBLISHED = {
    "EleutherAI/pythia-70m": 70_426_624,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-410m": 405_334_016,
    "EleutherAI/pythia-1b": 1_011_781_632,
    "EleutherAI/pythia-1.4b": 1_414_647_808,
    "EleutherAI/pythia-2.8b": 2_775_208_960,
    "EleutherAI/pythia-6.9b": 6_857_302_016,
    "EleutherAI/pythia-12b": 11_846_072_320,
    "distilgpt2": 81_912_576,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "microsoft/DialoGPT-medium": 354_823_168,
    "EleutherAI/gpt-neo-125m": 125_198_592,
    "EleutherAI/gpt-neo-1.3B": 1_315_575_808,
    "EleutherAI/gpt-neo-2.7B": 2_651_307_520,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "meta-llama/Meta-Llama-3-8B": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
}
WIDE = GPTNeoXConfig(
    vocab_size=2000,
    hidden_size=256,
    num_hidden_layers=8,
    num_attention_heads=4,
    intermediate_size=1024,
    max_position_embeddings=128,
    bos_token_id=0,
    eos_token_id=0,
)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_parameters_are_exact(name, parameters):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture(name))
    assert model.num_parameters() == parameters


def test_every_shipped_architecture_has_a_published_count():
    assert known_architectures() == list(PUBLISHED)


def test_pythia_70m_for_the_tutorials_arguments():
    need = estimate("EleutherAI/pythia-70m", batch_size=1, length=2048, accumulation_steps=4, steps=3)
    assert need.parameters == need.trainable_parameters == 70_426_624
    assert need.parameters_without_embedding == 44_670_976
    assert need.flops_per_step / 1e9 == 2195.667812352
    assert need.flops_per_run == 3 * need.flops_per_step
    assert need.weight_bytes == 281_706_496
    assert need.state_bytes == 16 * need.parameters
    # Three tables at once: log probabilities, their gradient, and the gradient of the scores.
    assert need.logit_bytes == 3 * 4 * 2048 * 50_304
    # With accumulation the gradients are all there when the logits are; the 64 bytes are rotary frequencies.
    assert (need.peak.weights, need.peak.gradients) == (281_706_496 + 64, 281_706_496)
    assert need.peak.logits == need.logit_bytes
    assert need.peak.total == sum(vars(need.peak).values())


def test_a_configuration_works_as_well_as_a_name(tiny_model):
    need = estimate(tiny_model.config, batch_size=2, length=10)
    assert need.parameters == tiny_model.num_parameters()
    assert need.tokens_per_step == 20
    assert need.weight_bytes == sum(p.numel() * p.element_size() for p in tiny_model.parameters())


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_switched_off_are_counted_all_the_same(off):
    usual = estimate("nano", batch_size=2, length=10)
    with off():
        assert estimate("nano", batch_size=2, length=10) == usual


def test_a_folder_works_as_well_and_its_type_does_not_matter(tiny_model, tiny_tokenizer, tmp_path):
    folder = save_model(tiny_model.to(torch.bfloat16), tiny_tokenizer, tmp_path / "model")
    assert estimate(folder) == estimate(tiny_model.float().config)
    assert estimate(folder).weight_bytes == 4 * tiny_model.num_parameters()
    assert estimate(folder, dtype="bfloat16").weight_bytes == 2 * tiny_model.num_parameters()


def test_the_callers_configuration_stays_as_it_was():
    before = WIDE.to_dict()
    estimate(WIDE, batch_size=1, dtype="bfloat16", lora_rank=1)
    assert WIDE.to_dict() == before


def test_the_length_is_the_context_unless_said():
    assert estimate(WIDE).tokens_per_step == 128
    assert estimate("meta-llama/Llama-2-7b-hf", lora_rank=1, dtype="bfloat16").tokens_per_step == 2048


@pytest.mark.filterwarnings("ignore::ftlib.errors.AdapterWarning")
@pytest.mark.parametrize("targets", ["attention", "blocks"])
@pytest.mark.parametrize("family", families())
def test_adapters_are_those_that_training_adds(family, targets, monkeypatch):
    nothing = Memory(weights=0, gradients=0, optimizer=0, activations=0, logits=0)
    monkeypatch.setattr(
        "ftlib.estimate.estimation.step_memory", lambda *_, **__: (nothing, nothing)
    )  # only counts are asked for
    model = tiny_causal(family)
    config = copy.deepcopy(model.config)
    try:
        adapted = add_lora(model, rank=5, targets=targets)
    except ModelError as error:
        with pytest.raises(ModelError, match=re.escape(str(error)[:60])):
            estimate(config, length=16, lora_rank=5, lora_targets=targets)
        return
    need = estimate(config, length=16, lora_rank=5, lora_targets=targets, dtype="bfloat16")
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert need.trainable_parameters == trained
    assert need.parameters == sum(weight.numel() for weight in adapted.parameters())
    assert need.gradient_bytes == 4 * trained


def test_adapters_by_name_and_by_default():
    by_name = estimate(WIDE, length=16, lora_rank=5, lora_targets=["query_key_value", "dense"])
    assert by_name == estimate(WIDE, length=16, lora_rank=5) == estimate(WIDE, length=16, lora_rank=5, lora_targets=())
    with pytest.warns(AdapterWarning, match=r"leaves out .*experts.down_proj.*share one tensor"):
        estimate(tiny_causal("mixtral").config, length=16, lora_rank=2, lora_targets="blocks")


def test_adapters_stay_in_float32():
    need = estimate(WIDE, lora_rank=4, dtype="bfloat16")
    assert need.gradient_bytes == 4 * need.trainable_parameters
    assert need.weight_bytes == 2 * (need.parameters - need.trainable_parameters) + need.gradient_bytes


def test_the_type_of_the_weights_and_the_precision_of_the_products_are_two_things():
    full = estimate(WIDE, length=64)
    for precision in ("mixed", "bfloat16", "float16"):
        need = estimate(WIDE, length=64, precision=precision)
        assert (need.weight_bytes, need.gradient_bytes) == (full.weight_bytes, full.gradient_bytes)
        assert need.activation_bytes != full.activation_bytes
    half = estimate(WIDE, length=64, dtype="bfloat16")
    assert [2 * half.weight_bytes, 2 * half.optimizer_bytes] == [full.weight_bytes, full.optimizer_bytes]


@pytest.mark.parametrize(("family", "chosen"), [("mixtral", 2), ("qwen3_moe", 2), ("zaya", 1)])
def test_a_token_is_multiplied_by_the_experts_that_it_goes_to(family, chosen):
    model = tiny_causal(family)
    stacks = {name: weight.numel() for name, weight in model.named_parameters() if weight.ndim == 3 and "exp" in name}
    stacks = {name: size for name, size in stacks.items() if name.endswith("proj")}
    assert stacks
    assert model.config.num_experts_per_tok == chosen
    need = estimate(model.config, length=16)
    idle = sum(stacks.values()) * (4 - chosen) / 4
    assert need.flops_per_token == pytest.approx(6 * (need.parameters_without_embedding - idle), abs=6)


def counted_flops(gradient_checkpointing=False, frozen=()):
    """Operations of the matrix products of a step, attention not counted, by PyTorch's own counter."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(WIDE).train()
        ids = torch.zeros(2, 64, dtype=torch.int64)
        mask = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(frozen)))
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    # PyTorch repeats a layer only as far as needed, the rule the whole of it.
    with FlopCounterMode(display=False) as counter, set_checkpoint_early_stop(False):
        model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False).loss.backward()
    products = counter.get_flop_counts()["Global"]
    return sum(count for operation, count in products.items() if operation in (torch.ops.aten.mm, torch.ops.aten.addmm))


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({}, {}),
        ({"gradient_checkpointing": True}, {"gradient_checkpointing": True}),
        ({"frozen": ["gpt_neox.layers.[4-7].*"]}, {"frozen": [f"gpt_neox.layers.{n}." for n in (4, 5, 6, 7)]}),
    ],
    ids=["full", "checkpointing", "upper half frozen"],
)
def test_the_rule_agrees_with_a_count_of_products(options, counted):
    need = estimate(WIDE, batch_size=2, length=64, **options)
    assert need.flops_per_step == pytest.approx(counted_flops(**counted), rel=0.01)


def test_what_a_weight_costs():
    full = estimate(WIDE, length=64)
    assert full.flops_per_token == 6 * full.parameters_without_embedding
    head = 2000 * 256
    some = estimate(WIDE, length=64, target_share=0.25)
    assert full.flops_per_token - some.flops_per_token == 6 * 0.75 * head
    lora = estimate(WIDE, length=64, lora_rank=4)
    base = full.parameters_without_embedding
    assert lora.flops_per_token == 4 * base + 6 * lora.trainable_parameters
    again = estimate(WIDE, length=64, gradient_checkpointing=True)
    assert again.flops_per_token == full.flops_per_token
    assert again.flops_per_step - full.flops_per_step == 64 * 2 * (base - head)


def test_a_table_that_scores_too_is_multiplied():
    need = estimate(GPT2Config(n_embd=64, n_layer=2, n_head=2, vocab_size=500), length=8)
    assert need.parameters_without_embedding == need.parameters - 1024 * 64  # positions are looked up


def test_frozen_parameters():
    need = estimate(WIDE, length=8, frozen=["*embed_in*", "*layernorm*", "*layer_norm*"])
    norms = 2 * 256 * (2 * 8 + 1)
    assert need.parameters - need.trainable_parameters == 2000 * 256 + norms
    assert need.gradient_bytes == 4 * need.trainable_parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length must be at least 2 and at most the model's context of 128 tokens, not 1"),
        ({"length": 129}, "at most the model's context of 128 tokens, not 129"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"accumulation_steps": 0}, "accumulation_steps must be at least 1, not 0"),
        ({"steps": -1}, "steps must be at least 1, not -1"),
        ({"lora_rank": 0}, "lora_rank must be at least 1, not 0"),
        ({"target_share": 0.0}, "target_share must be above 0 and at most 1, not 0.0"),
        ({"target_share": 1.1}, "target_share must be above 0 and at most 1, not 1.1"),
        ({"precision": "bf16"}, "unknown precision 'bf16'; expected one of float32, bfloat16, float16, mixed"),
        ({"dtype": "float16"}, "unknown dtype 'float16'; expected one of float32, bfloat16; did you mean 'bfloat16'"),
        (
            {"optimizer": "adam"},
            "unknown optimizer 'adam'; expected one of adamw, adafactor, sgd, muon; did you mean 'adamw'",
        ),
        ({"device": "tpu"}, "unknown device 'tpu'; expected one of cpu, cuda"),
        (
            {"frozen": ["*.wte.*"]},
            r"the pattern '\*.wte.\*' matches no parameter; names look like gpt_neox.embed_in.weight",
        ),
        ({"frozen": ["*"]}, "nothing is left to train"),
        ({"lora_rank": 2, "lora_targets": ["q_proj"]}, "no linear layer is called 'q_proj'; this model has"),
    ],
    ids=str,
)
def test_what_cannot_be_is_an_error(arguments, message):
    with pytest.raises(ModelError, match=message):
        estimate(WIDE, **arguments)


def test_unknown_names_are_errors(tmp_path):
    with pytest.raises(ModelError, match="Did you mean 'EleutherAI/pythia-70m'"):
        architecture("pythia-70m")
    with pytest.raises(ModelError, match=r"no configuration of 'EleutherAI/pythia-7b' is shipped, .* Did you mean"):
        architecture("EleutherAI/pythia-7b")
    with pytest.raises(ModelError, match="the folder holds no model"):
        architecture(tmp_path)


@pytest.mark.parametrize("how", [{"precision": "mixed"}, {"dtype": "bfloat16"}], ids=str)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_heads_that_share_keys_take_less(device, how):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "intermediate_size": 128}
    own, shared = (
        estimate(LlamaConfig(**sizes, num_key_value_heads=heads), length=64, device=device, **how) for heads in (8, 2)
    )
    assert shared.parameters == own.parameters - 2 * 2 * 64 * 6 * 8  # keys and values, layers, inputs, heads, outputs
    assert shared.peak.total < own.peak.total


def test_models_that_cannot_be_estimated_are_errors():
    with pytest.raises(ModelError, match="'t5' is no causal language model"):
        estimate(T5Config())
    with pytest.raises(ModelError, match=r"the family 'jetmoe' \(JetMoeForCausalLM\) can't be estimated"):
        estimate(tiny_causal("jetmoe").config)


def test_a_model_without_a_limit_has_none_and_prints_none():
    for family in ("bloom", "mamba", "recurrent_gemma"):
        config = tiny_causal(family).config
        assert estimate(config, length=100).tokens_per_step == 100
        with pytest.raises(ModelError, match=r"length must be at least 2, not 1$"):
            estimate(config, length=1)


def test_muon_trains_adapters_alone():
    need = estimate("nano", optimizer="muon", lora_rank=8, length=64)
    # One number for each weight of the adapters stays; what passes is that of one matrix at a time.
    kept = 4 * need.trainable_parameters
    assert kept < need.optimizer_bytes < 2 * kept
