from .gguf_adapter import export_adapter as export_adapter
from .gguf_file import export_gguf as export_gguf
from .merged import export_merged as export_merged
from .ollama import export_ollama as export_ollama
from .page import export_page as export_page
from .vllm import export_vllm as export_vllm
