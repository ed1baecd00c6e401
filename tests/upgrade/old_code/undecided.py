"""What only a person can decide."""

import yaml
from transformers import *
from transformers import AutoTokenizer, HfArgumentParser, LineByLineTextDataset, Trainer, TrainingArguments, pipeline
from trl import DataCollatorForCompletionOnlyLM, SFTTrainer

settings = {"evaluation_strategy": "steps", "output_dir": "out"}
print(settings)
parser = HfArgumentParser(TrainingArguments)
(parsed,) = parser.parse_args_into_dataclasses()
a = TrainingArguments(**settings)
b = TrainingArguments(**yaml.safe_load(open("settings.yaml")))
c = TrainingArguments("out", logging_dir="logs", group_by_length=ask(), warmup_ratio=1)
d = TrainingArguments("out", evaluation_strategy="no", eval_strategy="no")
trainer = SFTTrainer(model, args=parsed, dataset_text_field="text")
other = Trainer(model, c, None, None, None, None, None, extra)
tokenizer = AutoTokenizer.from_pretrained("gpt2")
ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_tensors="pt")
flops = model.floating_point_ops(ids)
summary = pipeline("summarization")
unknown = TrainingArguments("out", eval_stategy="no", made_up=1)
