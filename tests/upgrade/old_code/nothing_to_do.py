"""Names that look like the library's and are not, and calls that are up to date."""

import transformers as tf


class TrainingArguments:
    def __init__(self, evaluation_strategy, no_cuda=False):
        self.evaluation_strategy = evaluation_strategy


class Trainer:
    def __init__(self, model, tokenizer):
        self.tokenizer = tokenizer

    def compute_loss(self, model, inputs):
        return model(**inputs).loss


class Codec:
    def encode_plus(self, text):
        return text


arguments = TrainingArguments(evaluation_strategy="no", no_cuda=True)
trainer = Trainer(None, tokenizer=Codec().encode_plus("x"))
now = tf.TrainingArguments("out", eval_strategy="no", use_cpu=True, report_to="none")
