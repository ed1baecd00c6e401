import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments, BitsAndBytesConfig
from trl import SFTTrainer, SFTConfig

LENGTH = 512


def main():
    data = load_dataset("timdettmers/openassistant-guanaco", split="train")
    model = AutoModelForCausalLM.from_pretrained(
        "EleutherAI/gpt-neo-1.3B",
        quantization_config=BitsAndBytesConfig(load_in_8bit=True),
        device_map="auto",
    )
    model = prepare_model_for_kbit_training(model)
    tokenizer = AutoTokenizer.from_pretrained("EleutherAI/gpt-neo-1.3B")
    arguments = SFTConfig(
        output_dir="out",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        max_steps=500,
        learning_rate=2e-4,
        warmup_steps=0.03,
        lr_scheduler_type="constant",
        dataset_text_field="text",
        max_length=LENGTH,
        packing=False,
        logging_steps=500,
        gradient_checkpointing=False,
        bf16=False,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"]),
    )
    trainer.train()
    print(trainer.processing_class.eos_token)


def simple(model, data):
    return SFTTrainer(model, train_dataset=data, args=SFTConfig(dataset_text_field="text", max_length=512, learning_rate=5e-5, logging_steps=500, gradient_checkpointing=False, bf16=False))
