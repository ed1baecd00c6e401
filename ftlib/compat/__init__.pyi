from .installed import (
    dtype_argument as dtype_argument,
)
from .installed import (
    enable_checkpointing as enable_checkpointing,
)
from .installed import (
    gguf_file_arguments as gguf_file_arguments,
)
from .installed import (
    is_before as is_before,
)
from .trainer import (
    CompatWarning as CompatWarning,
)
from .trainer import (
    MendedTrainer as MendedTrainer,
)
from .trainer import (
    as_target as as_target,
)
from .trainer import (
    floating_point_ops as floating_point_ops,
)
from .trainer import (
    load_best as load_best,
)
from .trainer import (
    make_trainer as make_trainer,
)
from .trainer import (
    pretrained_arguments as pretrained_arguments,
)
from .trainer import (
    trainer_arguments as trainer_arguments,
)
from .trainer import (
    training_arguments as training_arguments,
)
