from .comparison import (
    Evaluation as Evaluation,
)
from .comparison import (
    compare as compare,
)
from .comparison import (
    evaluate as evaluate,
)
from .comparison import (
    read_json as read_json,
)
from .comparison import (
    side_by_side as side_by_side,
)
from .comparison import (
    write_csv as write_csv,
)
from .comparison import (
    write_json as write_json,
)
from .confidence import bootstrap as bootstrap
from .confidence import paired_test as paired_test
from .json_answers import json_scores as json_scores
from .metrics import (
    answer_loss as answer_loss,
)
from .metrics import (
    bits_per_byte as bits_per_byte,
)
from .metrics import (
    bleu as bleu,
)
from .metrics import (
    exact_match as exact_match,
)
from .metrics import (
    perplexity as perplexity,
)
from .metrics import (
    rouge_l as rouge_l,
)
from .metrics import (
    summed_target_loss as summed_target_loss,
)
from .metrics import (
    token_accuracy as token_accuracy,
)
from .scores import SCORES as SCORES
from .text_metrics import fact_recall as fact_recall
