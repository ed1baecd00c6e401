"""A folder for vLLM: merged weights, and the options of its server in a file."""

from __future__ import annotations

from pathlib import Path

import yaml

from ftlib.argument_checks import checked, text, unchecked
from ftlib.export.merged import write_folder
from ftlib.export.targets import export_name, load_merged, new_folder, new_place
from ftlib.models.loading import Dtype, context_length

VLLM_CONFIG = "vllm.yaml"


@checked(name=unchecked, dtype=text)
def export_vllm(name: str, folder: str | Path, *, dtype: Dtype = "bfloat16") -> Path:
    """Write a folder in which ``vllm serve --config vllm.yaml`` serves the model over OpenAI's protocol.

    vLLM reads the chat template from the tokenizer and the ends from ``generation_config.json``. It needs a GPU and
    isn't run by the tests of this course: what is checked is that the folder loads and the file parses.

    Args:
        name: As for :func:`ftlib.load_model`: a run, a checkpoint, an adapter, a model.
        folder: New; it appears whole or not at all.
        dtype: Of the weights, and of vLLM's arithmetic.

    Returns:
        The folder.

    Raises:
        ExportError: The folder is there already or can't be written, or the adapter is of a kind that can't be merged.
        ModelError: There is no such model.

    Taught in: chapters/15_smaller_and_shipped.ipynb
    """
    place = new_place(folder)
    model = load_merged(name, dtype)
    options = {
        "model": ".",
        "served-model-name": export_name(name),
        "dtype": dtype,
        "max-model-len": context_length(model.model),
        "generation-config": "auto",
    }
    with new_folder(place) as partial:
        write_folder(model, partial)
        text = yaml.safe_dump(options, sort_keys=False)
        head = f"# In this folder: vllm serve --config {VLLM_CONFIG}\n"
        (partial / VLLM_CONFIG).write_text(head + text, encoding="utf-8")
    return place
