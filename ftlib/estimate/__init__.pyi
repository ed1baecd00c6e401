from .cards import (
    GPUS as GPUS,
)
from .cards import (
    fits as fits,
)
from .cards import (
    gpu as gpu,
)
from .cards import (
    suggest as suggest,
)
from .estimation import (
    Estimate as Estimate,
)
from .estimation import (
    architecture as architecture,
)
from .estimation import (
    estimate as estimate,
)
from .estimation import (
    known_architectures as known_architectures,
)
from .flops import (
    model_flops_utilization as model_flops_utilization,
)
from .memory_tracker import MemoryTracker as MemoryTracker
from .throughput import (
    ThroughputCallback as ThroughputCallback,
)
from .throughput import (
    matrix_product_flops_per_second as matrix_product_flops_per_second,
)
