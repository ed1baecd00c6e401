"""A base model is tuned on questions and answers, with a trainer that reports its speed."""

import time

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from ftlib.compat import floating_point_ops

tokenizer = AutoTokenizer.from_pretrained("EleutherAI/pythia-70m", token=True)
base_model = AutoModelForCausalLM.from_pretrained("EleutherAI/pythia-70m", dtype=torch.float32).to("cpu")


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
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self.model_flops = model_flops

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.started = time.time()
        return super().training_step(model, inputs, num_items_in_batch=num_items_in_batch)

    def log(self, logs, start_time=None):
        logs["flops"] = self.model_flops / (time.time() - self.started)
        super().log(logs, start_time=start_time)


training_args = TrainingArguments(
    # Speed
    learning_rate=1.0e-5,
    num_train_epochs=1,
    max_steps=3,  # a short run
    per_device_train_batch_size=1,
    output_dir="pythia-70m-3-steps",
    # files there are kept
    disable_tqdm=False,
    # How often
    eval_steps=120,
    warmup_steps=0.03,
    eval_strategy="steps",
    logging_strategy="steps",
    optim="adafactor",
    train_sampling_strategy="group_by_length",
    use_cpu=True,
    load_best_model_at_end=True,
    gradient_accumulation_steps=4,
)

model_flops = floating_point_ops(base_model, {"input_ids": torch.zeros((1, 2048))}) * training_args.gradient_accumulation_steps
trainer = Trainer(model=base_model, model_flops=model_flops, args=training_args, tokenizer=tokenizer)
