import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_int8_training
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from trl import SFTTrainer

LENGTH = 512


def main():
    data = load_dataset("timdettmers/openassistant-guanaco", split="train", trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained(
        "EleutherAI/gpt-neo-1.3B",
        load_in_8bit=True,
        device_map="auto",
    )
    model = prepare_model_for_int8_training(model)
    tokenizer = AutoTokenizer.from_pretrained("EleutherAI/gpt-neo-1.3B")
    arguments = TrainingArguments(
        output_dir="out",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        max_steps=500,
        learning_rate=2e-4,
        warmup_ratio=0.03,
        lr_scheduler_type="constant",
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        dataset_text_field="text",
        max_seq_length=LENGTH,
        tokenizer=tokenizer,
        packing=False,
        peft_config=LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"]),
    )
    trainer.train()
    print(trainer.tokenizer.eos_token)


def simple(model, data):
    return SFTTrainer(model, train_dataset=data, dataset_text_field="text", max_seq_length=512)
