from .compat import make_trainer as make_trainer
from .compat import training_arguments as training_arguments
from .data import load_conversations as load_conversations
from .data import read_rows as read_rows
from .data import save_conversations as save_conversations
from .errors import FtlibError as FtlibError
from .estimate import architecture as architecture
from .estimate import estimate as estimate
from .evaluation import answer_loss as answer_loss
from .evaluation import perplexity as perplexity
from .evaluation import rouge_l as rouge_l
from .inference import generate as generate
from .inference import inference as inference
from .models import load_model as load_model
from .models import save_model as save_model
from .text import (
    QUESTION_ANSWER as QUESTION_ANSWER,
)
from .text import (
    pad_batch as pad_batch,
)
from .text import (
    tokenize as tokenize,
)
from .text import (
    tokenize_and_split as tokenize_and_split,
)
from .training.loop import finetune as finetune

__version__: str
