# Preferences and rewards, as scripts for TRL 0.7 to 0.20 wrote them.
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from trl import DPOTrainer, GRPOConfig, GRPOTrainer, KTOConfig, KTOTrainer, set_seed
from trl.trainer.utils import DPODataCollatorWithPadding

set_seed(3)
model = AutoModelForCausalLM.from_pretrained("base", torch_dtype=torch.bfloat16)
tokenizer = AutoTokenizer.from_pretrained("base")
lora = LoraConfig(r=8, task_type="CAUSAL_LM")

# Pairs.
arguments = TrainingArguments("pairs", evaluation_strategy="steps", learning_rate=1e-5)
pairs = DPOTrainer(
    model,
    None,
    args=arguments,
    beta=0.1,  # how far it may go
    train_dataset=rows,
    tokenizer=tokenizer,
    max_length=512,
    max_prompt_length=256,
    peft_config=lora,
)

# Single answers.
labelled = KTOTrainer(
    model=model,
    args=KTOConfig(
        "labelled",
        max_length=512,
        max_completion_length=256,
        is_encoder_decoder=False,
        label_pad_token_id=-100,
        use_liger_loss=False,
    ),
    train_dataset=rows,
    tokenizer=tokenizer,
)

# Rewards.
settings = GRPOConfig(
    "rewards",
    num_generations=8,
    max_prompt_length=128,
    wandb_log_unique_prompts=True,
    vllm_guided_decoding_regex=r"\d+",
    vllm_max_model_len=640,
    vllm_device="cuda:1",
)
rewards = GRPOTrainer(model, reward_funcs=score, args=settings, train_dataset=rows)
