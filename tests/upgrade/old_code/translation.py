#!/usr/bin/env python
# Übersetzen
from datasets import load_dataset, load_metric
from transformers import (
    AdamW,  # the optimizer
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

raw = load_dataset("opus_books", "de-en", use_auth_token=True, ignore_verifications=True)
metric = load_metric("sacrebleu")
tokenizer = AutoTokenizer.from_pretrained("t5-small")
model = AutoModelForSeq2SeqLM.from_pretrained("t5-small")


def preprocess(examples):
    model_inputs = tokenizer(examples["de"], max_length=128, truncation=True)
    # The targets
    with tokenizer.as_target_tokenizer():  # another vocabulary
        labels = tokenizer(examples["en"], max_length=128, truncation=True)

    model_inputs["labels"] = labels["input_ids"]
    return model_inputs


args = Seq2SeqTrainingArguments("translation", evaluation_strategy = "epoch", predict_with_generate=True, adafactor=False)
optimizer = AdamW(model.parameters(), lr=2e-5, correct_bias=True, no_deprecation_warning=True)
trainer = Seq2SeqTrainer(
    model, args, DataCollatorForSeq2Seq(tokenizer, model), raw["train"], raw["test"], tokenizer, None,
    lambda predicted: metric.compute(predictions=predicted.predictions, references=predicted.label_ids), optimizers=(optimizer, None)
)
first = tokenizer.encode_plus("Guten Tag", return_tensors="pt")
many = tokenizer.batch_encode_plus(batch_text_or_text_pairs=["Guten Tag", "Gute Nacht"], padding=True)
