"""Saving, and loading what was saved."""

from book.troubles.trouble import Trouble

CHECKPOINTS = (
    Trouble(
        "There were missing keys in the checkpoint model loaded: ['lm_head.weight']",
        "There were missing keys in the checkpoint model loaded: ['lm_head.weight'].",
        cause="The output layer of Pythia and nano is called `lm_head` in memory and `embed_out` in files. The "
        "Trainer's `load_best_model_at_end` compares the names as they are: it loads the best body and keeps the last "
        "step's output layer. The model that results was never trained like that.",
        cure="Load the best checkpoint by its folder, or use `make_trainer`, which loads it whole:",
        provoke="""
            from functools import partial
            from transformers import Trainer, TrainingArguments
            from ftlib import pad_batch
            trainer_inputs = {"train_dataset": rows, "eval_dataset": rows}
            trainer_inputs["data_collator"] = partial(pad_batch, pad_token_id=tokenizer.pad_token_id)
            args = TrainingArguments(
                "out", use_cpu=True, disable_tqdm=True, max_steps=2, load_best_model_at_end=True,
                eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
            )
            Trainer(model, args, **trainer_inputs).train()
        """,
        fix="""
            from ftlib.compat.trainer import make_trainer

            trainer = make_trainer(model, args, **trainer_inputs)
            trainer.train()
        """,
        holds="trainer.state.best_model_checkpoint",
    ),
    Trouble(
        "unknown model. Did you mean",
        "ModelError: unknown model 'nanno'. Did you mean 'nano'? Give 'nano', 'smollm2', a Hub id such as "
        "'EleutherAI/pythia-70m', or an existing folder",
        cause="The name is neither nano, nor a Hub id, nor a folder that exists.",
        cure="Check the spelling; a path is meant from the folder that Python was started in.",
        provoke="""
            from ftlib import load_model
            load_model("nanno")
        """,
        fix='model, tokenizer = load_model("nano")',
        holds="tokenizer.pad_token == '<|padding|>'",
    ),
    Trouble(
        "the folder holds no model (no config.json)",
        "ModelError: tuned: the folder holds no model (no config.json): save one with save_pretrained",
        cause="Weights alone were saved (`torch.save`), or the folder above the model was named.",
        cure="Save model and tokenizer together:",
        provoke="""
            import torch
            from pathlib import Path
            from ftlib import load_model
            Path("tuned").mkdir()
            torch.save(model.state_dict(), "tuned/weights.pt")
            load_model("tuned")
        """,
        fix="""
            from ftlib import save_model

            save_model(model, tokenizer, "tuned")
            model, tokenizer = load_model("tuned")
        """,
    ),
    Trouble(
        "the folder holds a model already",
        "ModelError: tuned: the folder holds a model already: choose another one, or delete it first",
        cause="`save_model` never overwrites a model.",
        cure="Name another folder:",
        provoke="""
            from ftlib import save_model
            save_model(model, tokenizer, "tuned")
            save_model(model, tokenizer, "tuned")
        """,
        fix='save_model(model, tokenizer, "tuned-for-longer")',
        holds="__import__('pathlib').Path('tuned-for-longer/config.json').is_file()",
    ),
    Trouble(
        "expected a folder that a run or save_pretrained wrote; a file such as Lightning's .ckpt",
        "ConfigError: last.ckpt: expected a folder that a run or save_pretrained wrote; a file such as Lightning's "
        ".ckpt may run code when it is opened and isn't read: save the model in it with save_pretrained first",
        cause="`checkpoint.start_from` (or `ckpt_path`) names a file of pickled objects.",
        cure="Where that file came from, save the model itself, and name the folder:",
        provoke="""
            from ftlib.training.config import FinetuneConfig
            from ftlib.training.prepare import other_run
            config = FinetuneConfig.from_dict({"checkpoint": {"start_from": "last.ckpt"}})
            other_run(config)
        """,
        fix="""
            from ftlib import save_model

            save_model(model, tokenizer, "tuned")
            config = FinetuneConfig.from_dict({"checkpoint": {"start_from": "tuned"}})
        """,
        holds="other_run(config) is None",
        files={"last.ckpt": "weights"},
    ),
    Trouble(
        "Weights only load failed",
        "UnpicklingError: Weights only load failed. This file can still be loaded, ... Unsupported global: GLOBAL ... "
        "was not an allowed global by default. ...",
        cause="Since PyTorch 2.6 `torch.load` opens nothing but tensors, because a pickled object can run any code. "
        "This file holds a whole model.",
        cure="Where you trust the file, open it one last time with `weights_only=False`, and save what is in it as "
        "safetensors:",
        provoke="""
            import torch
            torch.save(model, "whole.pt")
            torch.load("whole.pt")
        """,
        fix="""
            model = torch.load("whole.pt", weights_only=False)
            model.save_pretrained("tuned")
        """,
        holds="__import__('pathlib').Path('tuned/model.safetensors').is_file()",
    ),
    Trouble(
        "Error(s) in loading state_dict: size mismatch",
        "RuntimeError: Error(s) in loading state_dict for GPTNeoXForCausalLM:\nsize mismatch for ...: copying a param "
        "with shape torch.Size([...]) from checkpoint, the shape in current model is torch.Size([...])....",
        cause="The weights belong to a model of another size, often one whose tokenizer had been given new tokens.",
        cure="Make the model from the configuration that was saved beside the weights. `from_pretrained` does:",
        provoke="""
            import copy
            larger = copy.deepcopy(model)
            larger.resize_token_embeddings(model.config.vocab_size + 8)
            larger.save_pretrained("tuned")
            model.load_state_dict(larger.state_dict())
        """,
        fix="""
            from transformers import AutoModelForCausalLM

            model = AutoModelForCausalLM.from_pretrained("tuned")
        """,
        holds="model.config.vocab_size == larger.config.vocab_size",
    ),
    Trouble(
        "LOAD REPORT: MISSING: those params were newly initialized",
        "GPTNeoXForCausalLM LOAD REPORT from: body\nKey            | Status  |\n---------------+---------+-\n"
        "lm_head.weight | MISSING |\n\nNotes:\n- MISSING: those params were newly initialized because missing from "
        "the checkpoint. Consider training on your downstream task.",
        cause="The file holds the body of a model without its output layer; that layer begins at random.",
        cure="Expected when you go on to train it. Otherwise save the whole model, the class with `ForCausalLM`:",
        provoke="""
            from transformers import AutoModelForCausalLM
            model.base_model.save_pretrained("body")
            AutoModelForCausalLM.from_pretrained("body")
        """,
        fix="""
            model.save_pretrained("whole")
            model = AutoModelForCausalLM.from_pretrained("whole")
        """,
    ),
    Trouble(
        "mat1 and mat2 must have the same dtype",
        "RuntimeError: mat1 and mat2 must have the same dtype, but got ... and ...",
        cause="Since transformers 5.0 a model is loaded in the precision that its file holds, float16 here; before, "
        "it was always float32.",
        cure="Say which precision you want. `load_model` takes float32 unless told otherwise.",
        provoke="""
            import torch
            from transformers import AutoModelForCausalLM
            model.half().save_pretrained("tuned")
            model = AutoModelForCausalLM.from_pretrained("tuned")
            head = torch.nn.Linear(model.config.hidden_size, 2)
            head(torch.zeros(1, model.config.hidden_size, dtype=model.dtype))
        """,
        fix="""
            model = AutoModelForCausalLM.from_pretrained("tuned", dtype=torch.float32)
        """,
        holds="model.dtype == torch.float32",
    ),
    Trouble(
        "is there already, and nothing is overwritten",
        "ExportError: ...: is there already, and nothing is overwritten: name another place, or delete it",
        cause="`ftlib export` writes a folder or a file whole or not at all, and never over another one.",
        cure="Name a place of its own for each export:",
        provoke="""
            from ftlib.export import export_merged
            from ftlib.models import save_model
            save_model(model, tokenizer, "tuned")
            export_merged("tuned", "shipped")
            export_merged("tuned", "shipped")
        """,
        fix="""
            export_merged("tuned", "shipped-again")
        """,
    ),
)
