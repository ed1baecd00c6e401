#!/usr/bin/env python
# Übersetzen
from datasets import load_dataset
import evaluate
# the optimizer
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)
from torch.optim import AdamW

raw = load_dataset("opus_books", "de-en", token=True, verification_mode="no_checks")
metric = evaluate.load("sacrebleu")
tokenizer = AutoTokenizer.from_pretrained("t5-small")
model = AutoModelForSeq2SeqLM.from_pretrained("t5-small")


def preprocess(examples):
    model_inputs = tokenizer(examples["de"], max_length=128, truncation=True)
    # The targets
    # another vocabulary
    labels = tokenizer(text_target=examples["en"], max_length=128, truncation=True)

    model_inputs["labels"] = labels["input_ids"]
    return model_inputs


args = Seq2SeqTrainingArguments("translation", eval_strategy = "epoch", predict_with_generate=True)
optimizer = AdamW(model.parameters(), lr=2e-5, eps=1e-6, weight_decay=0.0)
trainer = Seq2SeqTrainer(
    model, args, DataCollatorForSeq2Seq(tokenizer, model), raw["train"], raw["test"], tokenizer, None,
    compute_metrics=lambda predicted: metric.compute(predictions=predicted.predictions, references=predicted.label_ids), optimizers=(optimizer, None)
)
first = tokenizer("Guten Tag", return_tensors="pt")
many = tokenizer(text=["Guten Tag", "Gute Nacht"], padding=True)
