from .chat_model import ChatModel as ChatModel
from .chat_model import load_chat_model as load_chat_model
from .loading import (
    context_length as context_length,
)
from .loading import (
    default_device as default_device,
)
from .loading import (
    load_model as load_model,
)
from .loading import (
    quiet_peft as quiet_peft,
)
from .loading import (
    save_model as save_model,
)
from .loading import (
    save_quietly as save_quietly,
)
from .tokenizer import load_tokenizer as load_tokenizer
from .trainable import (
    MODULE_KINDS as MODULE_KINDS,
)
from .trainable import (
    add_lora as add_lora,
)
from .trainable import (
    count_parameters as count_parameters,
)
from .trainable import (
    freeze as freeze,
)
from .trainable import (
    linear_layers as linear_layers,
)
from .trainable import (
    merge_lora as merge_lora,
)
