"""A base model is tuned on questions and answers, with a trainer that reports its speed."""

import time

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

tokenizer = AutoTokenizer.from_pretrained("EleutherAI/pythia-70m", use_auth_token=True)
base_model = AutoModelForCausalLM.from_pretrained("EleutherAI/pythia-70m", torch_dtype=torch.float32).to("cpu")


class Trainer(transformers.Trainer):
    def __init__(
        self,
        model,
        model_flops,
        args=None,
        data_collator=None,
        train_dataset=None,
        eval_dataset=None,
        tokenizer=None,
        model_init=None,
        compute_metrics=None,
        callbacks=None,
        optimizers=(None, None),
    ):
        super(Trainer, self).__init__(
            model,
            args,
            data_collator,
            train_dataset,
            eval_dataset,
            tokenizer,
            model_init,
            compute_metrics,
            callbacks,
            optimizers,
        )
        self.model_flops = model_flops

    def training_step(self, model, inputs):
        self.started = time.time()
        return super().training_step(model, inputs)

    def log(self, logs):
        logs["flops"] = self.model_flops / (time.time() - self.started)
        super().log(logs)


training_args = TrainingArguments(
    # Speed
    learning_rate=1.0e-5,
    num_train_epochs=1,
    max_steps=3,  # a short run
    per_device_train_batch_size=1,
    output_dir="pythia-70m-3-steps",
    overwrite_output_dir=False,  # files there are kept
    disable_tqdm=False,
    # How often
    eval_steps=120,
    warmup_ratio=0.03,
    evaluation_strategy="steps",
    logging_strategy="steps",
    optim="adafactor",
    group_by_length=True,
    no_cuda=True,
    load_best_model_at_end=True,
    gradient_accumulation_steps=4,
    save_safetensors=True,
)

model_flops = base_model.floating_point_ops({"input_ids": torch.zeros((1, 2048))}) * training_args.gradient_accumulation_steps
trainer = Trainer(model=base_model, model_flops=model_flops, args=training_args, tokenizer=tokenizer)
