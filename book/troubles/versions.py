"""What worked with earlier releases of the libraries."""

from book.troubles.trouble import Trouble

VERSIONS = (
    Trouble(
        "unexpected keyword argument 'evaluation_strategy'",
        "TypeError: TrainingArguments.__init__() got an unexpected keyword argument 'evaluation_strategy'",
        cause="It is called `eval_strategy` since transformers 4.41; the old name was refused from 4.51 on.",
        cure="Rename it, or let the file be rewritten. The same command mends most of what follows here.",
        provoke="""
            from pathlib import Path
            exec(Path("old.py").read_text(encoding="utf-8"))
        """,
        fix="ftlib upgrade old.py --fix",
        language="bash",
        holds="exec(Path('old.py').read_text(encoding='utf-8')) is None",
        files={
            "old.py": """
                from transformers import TrainingArguments

                args = TrainingArguments("out", evaluation_strategy="steps", eval_steps=10)
            """
        },
    ),
    Trouble(
        "unexpected keyword argument 'overwrite_output_dir'",
        "TypeError: TrainingArguments.__init__() got an unexpected keyword argument 'overwrite_output_dir'",
        cause="Transformers 5 dropped it, with `no_cuda`, `use_mps_device`, `save_safetensors` and others.",
        cure="`training_arguments` takes the names of any release. Unless told not to, it warns of what it translates "
        "or leaves out:",
        provoke="""
            from transformers import TrainingArguments
            TrainingArguments("out", overwrite_output_dir=True, no_cuda=True)
        """,
        fix="""
            from ftlib.compat.trainer import training_arguments

            args = training_arguments(output_dir="out", overwrite_output_dir=True, no_cuda=True, warn=False)
        """,
        holds="args.use_cpu",
    ),
    Trouble(
        "CompatWarning: translated to, its name since",
        "CompatWarning: no_cuda: translated to use_cpu, its name since 4.41 and the only one since 5.0: ... "
        "(transformers ... is installed)",
        cause="`training_arguments` was given a name of an earlier release, and says so once.",
        cure="Write the name of today:",
        provoke="""
            from unittest import mock
            from ftlib.compat.trainer import training_arguments
            with mock.patch("ftlib.compat.trainer._warned", set()):
                training_arguments(output_dir="out", no_cuda=True)
        """,
        fix="""
            args = training_arguments(output_dir="out", use_cpu=True)
        """,
        holds="args.use_cpu",
    ),
    Trouble(
        "no release of transformers that ftlib knows has an argument",
        "CompatError: no release of transformers that ftlib knows has an argument 'eval_strateg': did you mean "
        "'eval_strategy'?",
        cause="The name is misspelt.",
        cure="Take the one that is offered:",
        provoke="""
            from ftlib.compat.trainer import training_arguments
            training_arguments(output_dir="out", eval_strateg="no")
        """,
        fix="""
            args = training_arguments(output_dir="out", eval_strategy="no")
        """,
        holds="args.eval_strategy == 'no'",
    ),
    Trouble(
        "Trainer: unexpected keyword argument 'tokenizer'",
        "TypeError: Trainer.__init__() got an unexpected keyword argument 'tokenizer'",
        cause="It is called `processing_class` since 4.46, and nothing else since 5.0.",
        cure="Rename it:",
        provoke="""
            from transformers import Trainer, TrainingArguments
            args = TrainingArguments("out")
            Trainer(model=model, args=args, train_dataset=rows, tokenizer=tokenizer)
        """,
        fix="""
            trainer = Trainer(model=model, args=args, train_dataset=rows, processing_class=tokenizer)
        """,
        holds="trainer.processing_class is tokenizer",
    ),
    Trouble(
        'can only concatenate list (not "tuple") to list',
        'TypeError: can only concatenate list (not "tuple") to list',
        cause="A class of your own, often one out of a tutorial of 2023, hands its arguments on to `Trainer` by their "
        "places. Since 4.46 the constructor has one argument more in the middle, so all behind it slip by one: the "
        "pair of optimizers lands where the callbacks belong.",
        cure="Hand them on by name:",
        provoke="""
            import transformers
            from transformers import TrainingArguments
            class Trainer(transformers.Trainer):
                def __init__(self, model, args, train_dataset, callbacks=None, optimizers=(None, None)):
                    super().__init__(model, args, None, train_dataset, None, None, None, None, callbacks, optimizers)
            args = TrainingArguments("out", use_cpu=True)
            Trainer(model, args, rows)
        """,
        fix="""
            class Trainer(transformers.Trainer):
                def __init__(self, model, args, train_dataset, **names):
                    super().__init__(model=model, args=args, train_dataset=train_dataset, **names)

            trainer = Trainer(model, args, rows)
        """,
        holds="trainer.train_dataset is rows",
    ),
    Trouble(
        "'Trainer' object has no attribute 'accelerator'",
        "AttributeError: 'Trainer' object has no attribute 'accelerator'",
        cause="A `training_step` of your own calls `self.accelerator`, which the constructor of transformers makes. "
        "Before 4.30 there was none; today the error says that `super().__init__` was not called.",
        cure="Call it, and leave the step to the Trainer. (A patch that is passed around for this error calls "
        "`backward` without dividing by `gradient_accumulation_steps`, and so makes gradients that many times too "
        "large.) What such a class was for, the time and the operations of a step, "
        "[`compat.utilities.Trainer`](#ftlib.compat.utilities.Trainer) logs:",
        provoke="""
            import transformers
            class Trainer(transformers.Trainer):
                def __init__(self, model):
                    self.model = model
                def training_step(self, model, inputs, num_items_in_batch=None):
                    loss = model(**inputs).loss
                    self.accelerator.backward(loss)
                    return loss.detach()
            batch = tokenizer(["Why?"], return_tensors="pt")
            Trainer(model).training_step(model, {**batch, "labels": batch["input_ids"]})
        """,
        fix="""
            from transformers import TrainingArguments
            from ftlib.compat.utilities import Trainer

            args = TrainingArguments("out", max_steps=1, gradient_accumulation_steps=4, disable_tqdm=True, use_cpu=True)
            trainer = Trainer(model, args=args, train_dataset=rows)
            result = trainer.train()
        """,
        holds="result.global_step == 1",
    ),
    Trouble(
        "compute_loss() got an unexpected keyword argument 'num_items_in_batch'",
        "TypeError: ...compute_loss() got an unexpected keyword argument 'num_items_in_batch'",
        cause="Since 4.46 the Trainer also says how many targets the whole step has.",
        cure="Take it, and divide by it. A mean of your own makes accumulated gradients too large.",
        provoke="""
            from functools import partial
            from transformers import Trainer, TrainingArguments
            from ftlib import pad_batch
            class Own(Trainer):
                def compute_loss(self, model, inputs, return_outputs=False):
                    return model(**inputs).loss
            args = TrainingArguments("out", max_steps=1, disable_tqdm=True, use_cpu=True)
            trainer_inputs = {"train_dataset": rows}
            trainer_inputs["data_collator"] = partial(pad_batch, pad_token_id=tokenizer.pad_token_id)
            Own(model, args, **trainer_inputs).train()
        """,
        fix="""
            class Own(Trainer):
                def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
                    outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
                    return (outputs.loss, outputs) if return_outputs else outputs.loss

            result = Own(model, args, **trainer_inputs).train()
        """,
        holds="result.global_step == 1",
    ),
    Trouble(
        "`torch_dtype` is deprecated! Use `dtype` instead!",
        "`torch_dtype` is deprecated! Use `dtype` instead!",
        cause="The argument was renamed in 4.56. Without it, 5.x loads whatever precision the file holds.",
        cure="Rename it:",
        provoke="""
            import torch
            from transformers import AutoModelForCausalLM
            model.save_pretrained("tuned")
            AutoModelForCausalLM.from_pretrained("tuned", torch_dtype=torch.float32)
        """,
        fix="""
            model = AutoModelForCausalLM.from_pretrained("tuned", dtype=torch.float32)
        """,
        holds="model.dtype == torch.float32",
    ),
    Trouble(
        "SFTTrainer: unexpected keyword argument 'dataset_text_field'",
        "TypeError: SFTTrainer.__init__() got an unexpected keyword argument 'dataset_text_field'",
        cause="Settings of the data moved from `SFTTrainer` to `SFTConfig` in TRL 0.13, and `max_seq_length` became "
        "`max_length`.",
        cure="Move them there; `ftlib upgrade FILE --fix` does it too.",
        provoke="""
            from trl import SFTTrainer
            SFTTrainer(model=model, train_dataset=rows, dataset_text_field="text", max_seq_length=64)
        """,
        fix="""
            from trl import SFTConfig

            config = SFTConfig(
                "out", dataset_text_field="text", max_length=64, use_cpu=True, activation_checkpointing=True
            )
        """,
        holds="config.max_length == 64",
    ),
    Trouble(
        "SFTConfig: unexpected keyword argument 'max_seq_length'",
        "TypeError: SFTConfig.__init__() got an unexpected keyword argument 'max_seq_length'",
        cause="It is called `max_length` since TRL 0.20, as everywhere else.",
        cure="Rename it:",
        provoke="""
            from trl import SFTConfig
            SFTConfig("out", max_seq_length=64)
        """,
        fix="""
            config = SFTConfig("out", max_length=64, use_cpu=True, activation_checkpointing=True)
        """,
        holds="config.max_length == 64",
    ),
    Trouble(
        "`gradient_checkpointing` is deprecated and will be removed in v6",
        "FutureWarning: `gradient_checkpointing` is deprecated and will be removed in v6. Use "
        "`activation_checkpointing` instead.",
        cause="It was renamed in transformers 5.23. TRL's own default still says it by the old name, so an "
        "`SFTConfig` without either warns too.",
        cure="Say it by the new name:",
        provoke="""
            from transformers import TrainingArguments
            TrainingArguments("out", gradient_checkpointing=True)
        """,
        fix="""
            args = TrainingArguments("out", activation_checkpointing=True)
        """,
        holds="args.activation_checkpointing",
    ),
    Trouble(
        "cannot import name 'DataCollatorForCompletionOnlyLM' from 'trl'",
        "ImportError: cannot import name 'DataCollatorForCompletionOnlyLM' from 'trl' (...)",
        cause="TRL 0.20 dropped it. What is a target now follows from the rows.",
        cure="Give rows of `prompt` and `completion`; the prompt is not trained on:",
        provoke="""
            from trl import DataCollatorForCompletionOnlyLM
        """,
        fix="""
            from datasets import Dataset

            data = Dataset.from_list([{"prompt": "### Question:\\nWhy?\\n\\n### Answer:\\n", "completion": "Because."}])
        """,
        holds="data.column_names == ['prompt', 'completion']",
    ),
    Trouble(
        "has no attribute as_target_tokenizer",
        "AttributeError: ... has no attribute as_target_tokenizer...",
        cause="Transformers 5 dropped it. It was made for models with an encoder; one that continues text has no "
        "separate targets.",
        cure="Models with an encoder: `tokenizer(texts, text_target=targets)`. Models that continue text: put both "
        "into one row.",
        provoke="""
            with tokenizer.as_target_tokenizer():
                tokenizer(["Because."])
        """,
        fix="""
            from ftlib import tokenize

            rows = tokenize(tokenizer, conversations)
        """,
        holds="rows[0]['labels'][0] == -100 != rows[0]['labels'][-1]",
    ),
    Trouble(
        "has no attribute 'floating_point_ops'",
        "AttributeError: 'GPTNeoXForCausalLM' object has no attribute 'floating_point_ops'",
        cause="Transformers 5 dropped the method of models; the Trainer has kept its own.",
        cure="A function counts the same:",
        provoke="""
            inputs = tokenizer("What is a token?", return_tensors="pt")
            model.floating_point_ops(inputs)
        """,
        fix="""
            from ftlib.compat.trainer import floating_point_ops

            flops = floating_point_ops(model, inputs)
        """,
        holds="flops > 6 * inputs['input_ids'].numel()",
    ),
    Trouble(
        "AttributeError at inputs_tensor.shape",
        "...batch_size = inputs_tensor.shape[0]...\n...raise AttributeError\nAttributeError",
        cause="Since 5.0 `apply_chat_template` returns ids and mask together; before, it returned the ids alone.",
        cure="Hand both on with `**`, or ask for ids with `return_dict=False`:",
        provoke="""
            from ftlib import QUESTION_ANSWER
            from ftlib.text.chat_template import to_jinja
            tokenizer.chat_template = to_jinja(QUESTION_ANSWER)
            messages = [{"role": "user", "content": "Why?"}]
            ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
            model.generate(ids, max_new_tokens=4)
        """,
        fix="""
            inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
            ids = model.generate(**inputs, max_new_tokens=4)
        """,
        holds="ids.shape[0] == 1",
    ),
    Trouble(
        "cannot import name 'AdamW' from 'transformers'",
        "ImportError: cannot import name 'AdamW' from 'transformers' (...)",
        cause="Transformers' own AdamW is gone since 4.50.",
        cure="Take PyTorch's, with the old one's defaults where they matter:",
        provoke="""
            from transformers import AdamW
        """,
        fix="""
            from torch.optim import AdamW

            optimizer = AdamW(model.parameters(), lr=5e-5, eps=1e-6, weight_decay=0.0)
        """,
        holds="optimizer.defaults['weight_decay'] == 0",
    ),
    Trouble(
        "cannot import name 'load_metric' from 'datasets'",
        "ImportError: cannot import name 'load_metric' from 'datasets' (...)",
        cause="Metrics became a package of their own, `evaluate`.",
        cure="The course's are in `ftlib.evaluation.metrics` and work offline:",
        provoke="""
            from datasets import load_metric
        """,
        fix="""
            from ftlib import rouge_l

            scores = rouge_l(["a piece of text"], ["a piece of text"])
        """,
        holds="scores == [1.0]",
    ),
)
