"""Runs that don't begin: their configuration, their folder, and the machine that they are for."""

from book.troubles.trouble import Trouble

_CONFIG = """
    import yaml
    from pathlib import Path
    from ftlib.training.config import FinetuneConfig
    config = FinetuneConfig.from_yaml("run.yaml")
"""
_TINY_RUN = """
    from ftlib import save_model
    from ftlib.training.config import FinetuneConfig
    from ftlib.training.run import train
    save_model(model, tokenizer, "base")
    config = FinetuneConfig.from_dict({
        "model": {"name": "base", "device": "cpu"},
        "data": {"source": "data.jsonl", "max_length": 64},
        "train": {"max_steps": 1},
    })
"""
_ROWS = "".join(f'{{"question": "Is {i} a number?", "answer": "Yes."}}\n' for i in range(12))

RUNS = (
    Trouble(
        "the schedule 'constant' has no warm-up",
        "ConfigError: run.yaml: train: the schedule 'constant' has no warm-up: choose 'constant_with_warmup'",
        cause='The Trainer ignores a warm-up under `lr_scheduler_type="constant"` without a word. Here the two '
        "contradict each other.",
        cure="Say that there is a warm-up:",
        provoke=_CONFIG,
        fix="""
            train:
              schedule: constant_with_warmup
              warmup_share: 0.03
        """,
        language="yaml",
        holds="config.train.warmup_share == 0.03",
        files={"run.yaml": "train:\n  schedule: constant\n  warmup_share: 0.03\n"},
    ),
    Trouble(
        "unknown key; did you mean",
        "ConfigError: run.yaml: unknown key 'train.learnin_rate'; did you mean 'learning_rate'?",
        cause="A key that nobody reads would leave a default in force, so it is refused.",
        cure="Take the name that is offered:",
        provoke=_CONFIG,
        fix="""
            train:
              learning_rate: 2e-4
        """,
        language="yaml",
        holds="config.train.learning_rate == 2e-4",
        files={"run.yaml": "train:\n  learnin_rate: 2e-4\n"},
    ),
    Trouble(
        "give epochs or max_steps, not both",
        "ConfigError: run.yaml: train: give epochs or max_steps, not both",
        cause="Two keys say when the run ends, and they may disagree.",
        cure="Keep one:",
        provoke=_CONFIG,
        fix="""
            train:
              max_steps: 100
        """,
        language="yaml",
        holds="config.train.max_steps == 100",
        files={"run.yaml": "train:\n  epochs: 2\n  max_steps: 100\n"},
    ),
    Trouble(
        "give model.lora or model.freeze, not both",
        "ConfigError: run.yaml: the whole: give model.lora or model.freeze (keep_layers, freeze_patterns), not both: "
        "beside adapters every other weight is frozen",
        cause="Adapters are trained beside a model that stays as it is. To freeze parts of it as well says nothing "
        "new, and to keep a layer trainable contradicts it.",
        cure="Keep one (`--set` does it by itself: what is set takes the place of what the file says instead):",
        provoke=_CONFIG,
        fix="""
            model:
              lora: {rank: 8}
        """,
        language="yaml",
        holds="config.model.lora.rank == 8",
        files={"run.yaml": "model:\n  lora: {rank: 8}\n  freeze: [embeddings]\n"},
    ),
    Trouble(
        "sgd has no default learning rate",
        "ConfigError: run.yaml: train: sgd has no default learning rate: give learning_rate",
        cause="Where no learning rate is given, one is chosen by what is trained. The steps of AdamW, Adafactor and "
        "Muon have a size of their own; those of SGD are as long as the gradient, so no rate suits most models.",
        cure="Give one, and try a few:",
        provoke=_CONFIG,
        fix="""
            train:
              optimizer: sgd
              learning_rate: 0.1
        """,
        language="yaml",
        holds="config.train.learning_rate == 0.1",
        files={"run.yaml": "train:\n  optimizer: sgd\n"},
    ),
    Trouble(
        "no such file, and no shipped configuration of that name",
        "ConfigError: faqq: no such file, and no shipped configuration of that name (shipped: ...). Did you "
        "mean 'faq'?",
        cause="The name is neither a file here nor a configuration that travels with the course.",
        cure="Take the name that is offered, or give the path of your file:",
        provoke="""
            from ftlib.training.config import FinetuneConfig
            FinetuneConfig.from_yaml("faqq")
        """,
        fix="""
            from ftlib.training.config import FinetuneConfig

            config = FinetuneConfig.from_yaml("faq")
        """,
        holds="config.train.max_steps or config.train.epochs",
    ),
    Trouble(
        "no such folder, nor a model of that name",
        "ModelError: runs/faqq: no such folder, nor a model of that name. Did you mean 'runs/faq'? Give 'nano', "
        "'smollm2', a Hub id such as 'EleutherAI/pythia-70m', or an existing folder",
        cause="`runs` is a folder with models here, so `runs/faqq` is taken for one of them, and not for a model of "
        "the Hub whose owner is called runs.",
        cure="Take the name that is offered. (If it is a model of the Hub: download it once, with `hf download`, and "
        "it is found there.)",
        provoke="""
            import json
            from pathlib import Path
            from ftlib import load_model
            Path("runs/faq").mkdir(parents=True)
            Path("runs/faq/config.json").write_text(json.dumps({}), encoding="utf-8")
            load_model("runs/faqq")
        """,
        fix="""
            from pathlib import Path

            names = sorted(str(folder) for folder in Path("runs").iterdir())
        """,
        holds="names[0].endswith('faq')",
    ),
    Trouble(
        "can't be estimated, because its step depends on numbers",
        "ModelError: the family 'jetmoe' (JetMoeForCausalLM) can't be estimated, because its step depends on numbers, "
        "and a model on the meta device has none: ... (ftlib.training.measured_steps.try_steps measures a few real "
        "steps)",
        cause="`estimate` runs a training step on tensors that have a shape and no numbers. A few families (diffllama, "
        "jetmoe, longcat_flash, xlm and xlnet) ask in the middle of it what the numbers are.",
        cure="Measure a few real steps instead, at a size that fits:",
        provoke="""
            from transformers import AutoConfig
            from ftlib.estimate.estimation import estimate
            estimate(AutoConfig.for_model("jetmoe", hidden_size=32, num_hidden_layers=1, vocab_size=64,
                                          num_key_value_heads=2, kv_channels=8, intermediate_size=32), length=8)
        """,
        fix="""
            from ftlib.training.measured_steps import try_steps
        """,
        holds="callable(try_steps)",
    ),
    Trouble(
        "no NVIDIA card was found: choose cpu, or leave it out",
        "ConfigError: model.device ...: no NVIDIA card was found: choose cpu, or leave it out",
        cause="The configuration asks for a graphics card, and PyTorch sees none: there is none, or the build of "
        "PyTorch is one for processors.",
        cure="Leave the device out, and the best one that is there is taken:",
        provoke="""
            from unittest import mock
            from ftlib.training.config import FinetuneConfig
            from ftlib.training.prepare import prepare_model
            config = FinetuneConfig.from_yaml("run.yaml")
            with mock.patch("torch.cuda.is_available", return_value=False):
                prepare_model(config, None)
        """,
        fix="""
            model:
              name: nano
        """,
        language="yaml",
        files={"run.yaml": "model:\n  name: nano\n  device: cuda:0\n"},
    ),
    Trouble(
        "float16 needs a graphics card: on this processor it becomes bfloat16",
        "UserWarning: precision float16 needs a graphics card: on this processor it becomes bfloat16",
        cause="A processor can't train in float16: its numbers leave their small range too easily.",
        cure="Nothing has to be done. To say what is meant, also for later:",
        provoke="""
            from ftlib.models.precision import choose_precision
            from ftlib.training.config import FinetuneConfig
            config = FinetuneConfig.from_yaml("run.yaml")
            precision = choose_precision(config.train.precision, model.device)
        """,
        fix="""
            train:
              precision: bfloat16
        """,
        language="yaml",
        holds="precision == 'bfloat16'",
        files={"run.yaml": "train:\n  precision: float16\n"},
    ),
    Trouble(
        "holds something already, and a run is never overwritten",
        "TrainingError: runs/first: holds something already, and a run is never overwritten: choose another folder, "
        "or go on with the run that is there (--resume)",
        cause="The folder of the run is not empty.",
        cure="Name another folder. To go on with a run that was stopped, resume it:",
        provoke=_TINY_RUN
        + """
    train(config, "runs/first")
    train(config, "runs/first")
        """,
        fix="""
            train(config, "runs/second")
            train(config, "runs/first", resume=True)
        """,
        holds="__import__('pathlib').Path('runs/second/checkpoints').is_dir()",
        files={"data.jsonl": _ROWS},
    ),
    Trouble(
        "holds no run: start one without --resume",
        "TrainingError: runs/frist: holds no run (no ...): start one without --resume",
        cause="There is nothing to go on with: the folder is another one, or the run stopped before it began.",
        cure="Check the name, or begin:",
        provoke=_TINY_RUN
        + """
    train(config, "runs/frist", resume=True)
        """,
        fix="""
            train(config, "runs/first")
        """,
        files={"data.jsonl": _ROWS},
    ),
    Trouble(
        "was begun with another configuration: resume with",
        "TrainingError: runs/first: was begun with another configuration: resume with runs/first/..., unchanged",
        cause="A resumed run gives what an unstopped one would have given. With other settings that is impossible.",
        cure="Resume with the configuration in the run's folder. For other settings, begin a new run from its weights "
        "(`checkpoint.start_from`).",
        provoke=_TINY_RUN
        + """
    train(config, "runs/first")
    train(config.model_copy(update={"engine": "hf"}), "runs/first", resume=True)
        """,
        fix="""
            config = FinetuneConfig.from_yaml("runs/first/config.yaml")
            train(config, "runs/first", resume=True)
        """,
        files={"data.jsonl": _ROWS},
    ),
    Trouble(
        "was begun with other rows",
        "TrainingError: runs/first: was begun with other rows (... to train on and ... to evaluate on; now ... and "
        "..., or different ones): put the data back, or begin another run that goes on from this one "
        "(checkpoint.start_from: runs/first)",
        cause="The data file has changed since the run began, and a resumed run is to give what an unstopped one would "
        "have given.",
        cure="Put the file back. To train on the new rows, begin another run from the weights of this one:",
        provoke=_TINY_RUN
        + """
    train(config, "runs/first")
    with open("data.jsonl", "a", encoding="utf-8") as file:
        file.write('{"question": "And more?", "answer": "Yes."}\\n')
    train(config, "runs/first", resume=True)
        """,
        fix="""
            start = {"start_from": "runs/first"}
            values = {**config.model_dump(), "checkpoint": start, "train": {"max_steps": 2}}
            run = train(FinetuneConfig.from_dict(values), "runs/second")
        """,
        holds="[step.number for step in run.history] == [2]",
        files={"data.jsonl": _ROWS},
    ),
    Trouble(
        "there is no best checkpoint, because nothing says what is best",
        "ModelError: there is no best checkpoint, because nothing says what is best: set "
        "metric_for_best_model='eval_loss' (load_best_model_at_end=True does so, too)",
        cause="The Trainer compares its evaluations only where it was told by what.",
        cure="Name the measure:",
        provoke="""
            from functools import partial
            from ftlib import pad_batch
            from ftlib.compat.trainer import load_best, make_trainer, training_arguments
            trainer_inputs = {"train_dataset": rows, "eval_dataset": rows}
            trainer_inputs["data_collator"] = partial(pad_batch, pad_token_id=tokenizer.pad_token_id)
            every = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
            quiet = {"output_dir": "out", "use_cpu": True, "disable_tqdm": True, "max_steps": 2, **every}
            trainer = make_trainer(model, training_arguments(**quiet), **trainer_inputs)
            trainer.train()
            load_best(trainer)
        """,
        fix="""
            args = training_arguments(**quiet, metric_for_best_model="eval_loss")
            trainer = make_trainer(model, args, **trainer_inputs)
            trainer.train()
            load_best(trainer)
        """,
        holds="trainer.state.best_model_checkpoint",
    ),
    Trouble(
        "there is no best checkpoint, because no step was both evaluated and saved",
        "ModelError: there is no best checkpoint, because no step was both evaluated and saved: set eval_strategy and "
        "save_strategy alike, and eval_steps and save_steps no higher than the number of steps",
        cause="Only a step that was evaluated and saved can be the best. Here nothing is saved. (Before transformers "
        "5.4 `eval_steps=120` with `max_steps=3` had the same effect; since then the last step is always evaluated, "
        "and with no other the last is the best.)",
        cure="Save whenever you evaluate, several times within the run:",
        provoke="""
            from functools import partial
            from ftlib import pad_batch
            from ftlib.compat.trainer import load_best, make_trainer, training_arguments
            trainer_inputs = {"train_dataset": rows, "eval_dataset": rows}
            trainer_inputs["data_collator"] = partial(pad_batch, pad_token_id=tokenizer.pad_token_id)
            quiet = {"output_dir": "out", "use_cpu": True, "disable_tqdm": True, "max_steps": 3}
            watched = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "eval_loss"}
            trainer = make_trainer(model, training_arguments(**quiet, **watched, save_strategy="no"), **trainer_inputs)
            trainer.train()
            load_best(trainer)
        """,
        fix="""
            args = training_arguments(
                output_dir="out", use_cpu=True, disable_tqdm=True, max_steps=3, metric_for_best_model="eval_loss",
                eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
            )
            trainer = make_trainer(model, args, **trainer_inputs)
            trainer.train()
            load_best(trainer)
        """,
        holds="trainer.state.best_model_checkpoint",
    ),
)
