"""Programs that write sections of pages: what stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``."""
