"""A model as one GGUF file: the format of llama.cpp and Ollama, with tokenizer, template and ends in it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ftlib.argument_checks import checked, text, unchecked
from ftlib.errors import ExportError, MissingExtraError
from ftlib.export.gguf_families import Array, Family, family_of, frequency_factors, usable_context
from ftlib.export.gguf_vocabulary import vocabulary
from ftlib.export.merged import ends_of
from ftlib.export.targets import export_name, load_merged, new_file, new_place
from ftlib.models.chat_model import ChatModel
from ftlib.models.loading import embedding_rows
from ftlib.nearest import one_of
from ftlib.text.ends import end_ids, turn_end

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INSTALL_GGUF = "pip install 'ftlib[export]'"

Quantization = Literal["f16", "q8_0", "q4_0"]
"""How the numbers of a matrix are kept: 16 bits each, or 8 or 4 bits and a scale for each 32 of them."""

_KINDS = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
_SUFFIXES = (".weight", ".bias")


@checked(name=unchecked, quantization=text)
def export_gguf(name: str, file: str | Path, *, quantization: Quantization = "f16") -> Path:
    """Write a model into a GGUF file: weights, tokenizer, chat template, and the tokens that end a text.

    Norms and biases stay in 32 bits. Where the rest has four bits, embeddings and output layer have eight: each of
    their rows is a token, and llama.cpp's own files spare them too. A matrix whose rows can't be divided into blocks
    of 32 stays in 16 bits.

    Args:
        name: As for :func:`ftlib.load_model`: a run, a checkpoint, an adapter, a model.
        file: New; it appears whole or not at all.
        quantization: Of the matrices.

    Returns:
        The file.

    Raises:
        ExportError: The file is there already or can't be written; or no GGUF file can hold this model or tokenizer.
        MissingExtraError: The package ``gguf`` isn't installed.
        ModelError: There is no such model.

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    check_quantization(quantization)
    gguf_package()
    place = new_place(file)
    model = load_merged(name)
    with new_file(place) as partial:
        write_gguf(model, partial, quantization)
    return place


def check_quantization(name: str) -> None:
    """See that a quantization is known.

    Raises:
        ExportError: It isn't.
    """
    if name not in get_args(Quantization):
        raise ExportError(f"unknown quantization {name!r}; {one_of(name, get_args(Quantization))}")


def gguf_package() -> Any:
    """Import the package ``gguf``.

    Raises:
        MissingExtraError: It isn't installed.
    """
    try:
        return importlib.import_module("gguf")
    except ImportError as error:
        raise MissingExtraError(f"GGUF files need the package 'gguf': install it with {INSTALL_GGUF}") from error


def write_gguf(model: ChatModel, file: Path, quantization: Quantization) -> None:
    """Write a model of :func:`~ftlib.export.targets.load_merged`.

    Raises:
        ExportError: No GGUF file can hold it.
    """
    gguf, family = gguf_package(), family_of(model.model)
    writer = gguf.GGUFWriter(file, family.architecture)
    writer.add_name(export_name(model.name))
    writer.add_context_length(usable_context(model.model))
    family.describe(writer, model.model.config)
    writer.add_file_type(gguf.LlamaFileType[_KINDS[quantization]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, model)
    for name, rows in _tensors(model.model, family):
        kind = gguf.GGMLQuantizationType[_kind_of(name, rows, quantization)]
        writer.add_tensor(name, gguf.quants.quantize(rows, kind), raw_dtype=kind)
    write_out(writer)


def write_out(writer: Any) -> None:
    """Write what a writer has collected, and close its file."""
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def tensor_name(name: str, family: Family, layers: int) -> str:
    """Return what llama.cpp calls a parameter.

    Raises:
        ExportError: It has no such parameter in this family.
    """
    gguf = gguf_package()
    architecture = next(one for one, known in gguf.MODEL_ARCH_NAMES.items() if known == family.architecture)
    found = gguf.get_tensor_name_map(architecture, layers).get_name(name, try_suffixes=_SUFFIXES)
    if found is None:
        raise ExportError(f"{name}: llama.cpp has no place for it in a {family.architecture} model: take --to merged")
    return str(found)


def _tensors(model: PreTrainedModel, family: Family) -> Iterator[tuple[str, Array]]:
    """Yield name and numbers of each tensor, in llama.cpp's order of rows, float32."""
    config, embeddings = model.config, model.get_input_embeddings().weight
    for name, weight in model.named_parameters():
        rows = weight.detach().float().numpy()
        yield tensor_name(name, family, config.num_hidden_layers), family.reorder(name, rows, config)
    if model.get_output_embeddings().weight is embeddings and not family.shares_embeddings:
        yield "output.weight", embeddings.detach().float().numpy()
    if (factors := frequency_factors(model, family)) is not None:
        yield "rope_freqs.weight", factors


def _kind_of(name: str, rows: Array, quantization: Quantization) -> str:
    """Name the type in which a tensor is kept."""
    if rows.ndim == 1:
        return "F32"
    if quantization == "f16" or rows.shape[-1] % 32:
        return "F16"
    return "Q8_0" if name in ("token_embd.weight", "output.weight") else quantization.upper()


def _add_tokenizer(writer: Any, model: ChatModel) -> None:
    tokenizer = model.tokenizer
    words = vocabulary(tokenizer, embedding_rows(model.model))
    writer.add_vocab_size(len(words.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.kinds)
    writer.add_token_merges(words.merges)
    writer.add_add_bos_token(words.begins)
    writer.add_add_eos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    _add_ends(writer, model)


def _add_ends(writer: Any, model: ChatModel) -> None:
    """Name the tokens that end a text: the format has three places for them, and llama.cpp stops at each."""
    tokenizer = model.tokenizer
    turn = turn_end(tokenizer, model.template)
    ends = end_ids(ends_of(model), tokenizer, model.template)
    if turn is None:
        raise ExportError(
            f"{model.name}: neither template nor tokenizer names a token that ends a text, and llama.cpp would take "
            "any for it: set tokenizer.eos_token and save the tokenizer again"
        )
    eos = turn if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)
    others = [end for end in ends if end not in (eos, turn)]
    if len(others) > 1:
        named = ", ".join(tokenizer.convert_ids_to_tokens([eos, turn, *others]))
        raise ExportError(f"{model.name}: texts end with {named}, and a GGUF file names three ends: take --to merged")
    writer.add_eos_token_id(eos)
    writer.add_eot_token_id(turn)
    if others:
        writer.add_eom_token_id(others[0])
    # Left out, llama.cpp would take token 11 for it.
    writer.add_bos_token_id(eos if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id))
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(int(tokenizer.pad_token_id))
