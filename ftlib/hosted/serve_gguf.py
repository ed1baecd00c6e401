"""llama.cpp's own server for a GGUF file, in a process that ends with the one that started it.

``python -m ftlib.hosted.serve_gguf PARENT FILE NAME PORT DEVICE [ADAPTER]``; port 0 is a free one.
"""

import os
import sys
import threading

from ftlib.hosted.server_process import end_with_parent
from ftlib.loopback import HOST


def serve(file: str, name: str, port: int, device: str, adapter: str | None = None) -> None:
    """Serve a file on this computer alone, and print the address when it answers."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.model_alias = {name}
    settings.hostnames, settings.port = [HOST], port
    settings.cors_origins, settings.ui = "", False  # no page of another site may ask, and there is none of its own
    settings.n_parallel = 1
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if threads.isdecimal():  # as for PyTorch
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = int(threads)
    if device == "cpu":
        settings.n_gpu_layers = 0
    if adapter is not None:
        settings.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0)]
    server = xllamacpp.Server(settings)  # it answers from threads of its own
    # In one piece: a line of the server's own log could come between what print writes and its line break.
    os.write(sys.stdout.fileno(), f"\nrunning on {server.listening_address}\n".encode())
    threading.Event().wait()


def main() -> None:
    """Read the command line, and serve."""
    _, parent, file, name, port, device, *adapter = sys.argv
    end_with_parent(int(parent))
    serve(file, name, int(port), device, *adapter)


if __name__ == "__main__":
    main()
