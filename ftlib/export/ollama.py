"""A folder for Ollama: a GGUF file, and a Modelfile with the template, the ends and the parameters."""

from __future__ import annotations

from pathlib import Path

from ftlib.argument_checks import checked, text, unchecked
from ftlib.export.gguf_families import usable_context
from ftlib.export.gguf_file import Quantization, check_quantization, gguf_package, write_gguf
from ftlib.export.go_template import go_template
from ftlib.export.merged import ends_of
from ftlib.export.targets import load_merged, new_folder, new_place
from ftlib.models.chat_model import ChatModel
from ftlib.text.ends import end_ids

GGUF_WEIGHTS, MODELFILE = "model.gguf", "Modelfile"


@checked(name=unchecked, quantization=text)
def export_ollama(name: str, folder: str | Path, *, quantization: Quantization = "f16") -> Path:
    """Write a folder in which ``ollama create NAME -f Modelfile`` makes a model.

    The Modelfile sets temperature 0 and switches Ollama's penalty for repetition off, so that it answers as
    :func:`ftlib.inference.generation.answer` does.

    Args:
        name: As for :func:`ftlib.load_model`: a run, a checkpoint, an adapter, a model.
        folder: New; it appears whole or not at all.
        quantization: As for :func:`~ftlib.export.gguf_file.export_gguf`.

    Returns:
        The folder.

    Raises:
        ExportError: The folder is there already or can't be written; no GGUF file can hold this model; or its template
            is neither one of ftlib's nor ChatML.
        MissingExtraError: The package ``gguf`` isn't installed.
        ModelError: There is no such model.

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    check_quantization(quantization)
    gguf_package()
    place = new_place(folder)
    model = load_merged(name)
    text = modelfile(model)
    with new_folder(place) as partial:
        write_gguf(model, partial / GGUF_WEIGHTS, quantization)
        (partial / MODELFILE).write_text(text, encoding="utf-8")
    return place


def modelfile(model: ChatModel) -> str:
    """Return the text of a model's Modelfile.

    Args:
        model: Of :func:`~ftlib.export.targets.load_merged`.

    Raises:
        ExportError: Its template can't be translated.
    """
    program = go_template(model.tokenizer, model.template)
    ends = model.tokenizer.convert_ids_to_tokens(end_ids(ends_of(model), model.tokenizer, model.template))
    stops = dict.fromkeys(filter(None, [model.template.end_marker, *ends]))
    parameters = {"temperature": "0", "repeat_penalty": "1", "num_ctx": str(usable_context(model.model))}
    lines = [f"FROM ./{GGUF_WEIGHTS}", f'TEMPLATE """{program}"""']
    lines += [f'PARAMETER stop """{stop}"""' if {*stop} & {*'"\n'} else f'PARAMETER stop "{stop}"' for stop in stops]
    lines += [f"PARAMETER {key} {value}" for key, value in parameters.items()]
    return "\n".join(lines) + "\n"
