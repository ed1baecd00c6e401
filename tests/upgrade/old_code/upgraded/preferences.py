# Preferences and rewards, as scripts for TRL 0.7 to 0.20 wrote them.
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from trl import DPOTrainer, GRPOConfig, GRPOTrainer, KTOConfig, KTOTrainer, DPOConfig
from transformers import set_seed
from trl.trainer.utils import DPODataCollatorWithPadding

set_seed(3)
model = AutoModelForCausalLM.from_pretrained("base", dtype=torch.bfloat16)
tokenizer = AutoTokenizer.from_pretrained("base")
lora = LoraConfig(r=8, task_type="CAUSAL_LM")

# Pairs.
arguments = DPOConfig("pairs", eval_strategy="steps", learning_rate=1e-5,
    beta=0.1,  # how far it may go
    max_length=512, logging_steps=500, gradient_checkpointing=False, bf16=False)
pairs = DPOTrainer(
    model,
    None,
    args=arguments,
    train_dataset=rows,
    processing_class=tokenizer,
    peft_config=lora,
)

# Single answers.
labelled = KTOTrainer(
    model=model,
    args=KTOConfig(
        "labelled",
        max_length=512,
        max_completion_length=256,
        use_liger_kernel=False,
    ),
    train_dataset=rows,
    processing_class=tokenizer,
)

# Rewards.
settings = GRPOConfig(
    "rewards",
    num_generations=8,
    max_prompt_length=128,
    log_unique_prompts=True,
    vllm_structured_outputs_regex=r"\d+",
    vllm_max_model_length=640,
    vllm_device="cuda:1",
)
rewards = GRPOTrainer(model, reward_funcs=score, args=settings, train_dataset=rows)
