"""What was freed is the system's again, and few compiled kernels stay."""

import os
import platform
import subprocess
import sys

import psutil
import pytest

from ftlib.models.precision import best_precision
from ftlib.spare_memory import KEPT_KERNELS, bound_kernel_caches, peak_bytes, return_freed_memory, sparing_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such call")
BLOCKS, BYTES = 4000, 50_000


def resident():
    return psutil.Process().memory_info().rss


def test_gaps_between_blocks_that_stay_are_handed_back():
    blocks = [bytearray(BYTES) for _ in range(BLOCKS)]  # 200 MB, in pieces that are taken from the heap
    kept = blocks[::100]
    full = resident()
    del blocks
    return_freed_memory()
    assert full - resident() > 100e6
    assert len(kept) == BLOCKS / 100


def test_a_function_does_it_when_its_variables_are_gone():
    seen = []

    @sparing_memory()
    def work():
        """Work."""
        blocks = [bytearray(BYTES) for _ in range(BLOCKS)]
        kept = blocks[::100]
        seen.append(resident())
        return kept

    assert len(work()) == BLOCKS / 100
    assert work.__doc__ == "Work."
    assert seen[0] - resident() > 100e6


def test_also_when_the_function_fails():
    @sparing_memory()
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()


GROWTH = """
import os, sys
import psutil, torch
from ftlib.spare_memory import bound_kernel_caches, return_freed_memory
if sys.argv[1] == "bounded":
    bound_kernel_caches()
weight = torch.ones(256, 256, requires_grad=True)
def multiply(rows):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        product = torch.nn.functional.linear(torch.ones(rows, 256, requires_grad=True), weight)
    product.float().sum().backward()
for rows in range(60, 64):
    multiply(rows)
return_freed_memory()
before = psutil.Process().memory_info().rss
for rows in range(64, 264):
    multiply(rows)
return_freed_memory()
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(best_precision("cpu").name != "bfloat16", reason="this processor has no kernels for bfloat16")
def test_ever_new_shapes_leave_no_kernels_behind():
    grown = {}
    others = {name: value for name, value in os.environ.items() if not name.endswith("_CACHE_CAPACITY")}
    for how in ("bounded", "as it is"):
        command = [sys.executable, "-c", GROWTH, how]
        done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", env=others)
        grown[how] = int(done.stdout)
    assert grown["bounded"] < grown["as it is"] / 3, grown


def test_what_somebody_has_said_counts(monkeypatch):
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    bound_kernel_caches()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == str(KEPT_KERNELS)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is handed on")
def test_the_peak_is_the_program_s_own_and_not_what_its_parent_held():
    asks = [sys.executable, "-c", "from ftlib.spare_memory import peak_bytes; print(peak_bytes())"]
    held = bytearray(os.urandom(1)) * 400_000_000  # every page of it is written
    done = subprocess.run(asks, capture_output=True, encoding="utf-8", check=True)
    assert 5e6 < int(done.stdout) < len(held) < peak_bytes()
