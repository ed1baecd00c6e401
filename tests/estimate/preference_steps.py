"""Real steps on preferences, taken by TRL, with their tensors counted."""

import copy

import torch
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from datasets import Dataset
from ftlib.compat.installed import enable_checkpointing
from ftlib.estimate.memory_tracker import MemoryTracker
from ftlib.models.trainable import add_lora

SIDES = ("prompt_ids", "chosen_ids", "rejected_ids")


class Untokenised(DPOTrainer):
    def _prepare_dataset(self, dataset, *unused, **also_unused):
        return dataset


def build(config, options):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    model.to(getattr(torch, options.get("dtype", "float32"))).train()
    if rank := options.get("lora_rank"):
        model = add_lora(model, rank=rank, targets=options.get("lora_targets", "attention"))
    if options.get("gradient_checkpointing"):
        enable_checkpointing(model.get_base_model() if rank else model)
    return model


def measure_dpo(config, tokenizer, folder, *, pairs, length, **options):
    """Take two real steps of TRL's DPOTrainer on the processor, and count the bytes of the second."""
    model = build(config, options)
    reference = None if options.get("lora_rank") else copy.deepcopy(model).requires_grad_(False)
    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "bf16": False}
    arguments = DPOConfig(str(folder), gradient_checkpointing=False, max_length=None, **quiet)
    rows = Dataset.from_dict({name: [[1, 2]] for name in SIDES})
    trainer = Untokenised(model, reference, args=arguments, train_dataset=rows, processing_class=tokenizer)
    if options.get("lora_rank"):
        trainer.model.delete_adapter("ref")  # with which TRL would compare; the run's reference has no adapters
    ids = torch.ones(2 * pairs, length, dtype=torch.int64)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": torch.ones_like(ids)}
    trained = [each for each in trainer.model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    tracker = MemoryTracker(config.vocab_size)
    for _ in range(2):
        state = [value for each in optimizer.state.values() for value in each.values() if torch.is_tensor(value)]
        weights = [*trainer.model.parameters(), *(reference.parameters() if reference is not None else ())]
        for tensor in (*weights, *batch.values(), *state):
            tracker.label(tensor, "weights")
        tracker.start_measuring()
        with tracker:
            with torch.autocast("cpu", torch.bfloat16, enabled=options.get("precision") == "bfloat16"):
                loss = trainer.compute_loss(trainer.model, dict(batch))
            loss.backward()
            del loss
            optimizer.step()
            optimizer.zero_grad()
    return tracker.peak.total
