from .corpus import (
    docstrings as docstrings,
)
from .corpus import (
    encode_documents as encode_documents,
)
from .corpus import (
    harvest as harvest,
)
from .corpus import (
    split_documents as split_documents,
)
from .recipe import (
    Recipe as Recipe,
)
from .run import (
    held_out_loss as held_out_loss,
)
from .run import (
    new_model as new_model,
)
from .run import (
    pretrain as pretrain,
)
from .run import (
    window_batch as window_batch,
)
