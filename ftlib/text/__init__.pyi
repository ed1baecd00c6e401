from .batches import (
    pack_batch as pack_batch,
)
from .batches import (
    pad_batch as pad_batch,
)
from .batches import (
    padded_batches as padded_batches,
)
from .chat_template import ChatTemplate as ChatTemplate
from .chat_template import template_of as template_of
from .chat_template import to_jinja as to_jinja
from .encoding import encode_segments as encode_segments
from .grouping import length_batches as length_batches
from .grouping import packing_plan as packing_plan
from .summary import summarize as summarize
from .templates import (
    ALPACA as ALPACA,
)
from .templates import (
    CHATML as CHATML,
)
from .templates import (
    DIALOGUE as DIALOGUE,
)
from .templates import (
    GUANACO as GUANACO,
)
from .templates import (
    QUESTION_ANSWER as QUESTION_ANSWER,
)
from .templates import (
    DialogueTemplate as DialogueTemplate,
)
from .templates import (
    Template as Template,
)
from .templates import (
    TextTemplate as TextTemplate,
)
from .templates import (
    get_template as get_template,
)
from .tokenization import (
    Cut as Cut,
)
from .tokenization import (
    TokenizedSplit as TokenizedSplit,
)
from .tokenization import (
    known_limit as known_limit,
)
from .tokenization import (
    tokenize as tokenize,
)
from .tokenization import (
    tokenize_and_split as tokenize_and_split,
)
from .tokenization import (
    tokenize_measured as tokenize_measured,
)
