"""What was freed is the system's again."""

import platform

import psutil
import pytest

from ftlib.freed_memory import return_freed_memory, returning_freed_memory

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

    @returning_freed_memory()
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
    @returning_freed_memory()
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
