from .decoding import Sampling as Sampling
from .generation import (
    answer as answer,
)
from .generation import (
    check_questions as check_questions,
)
from .generation import (
    count_prompt_tokens as count_prompt_tokens,
)
from .generation import (
    fit_history as fit_history,
)
from .generation import (
    generate as generate,
)
from .generation import (
    inference as inference,
)
from .generation import (
    stream as stream,
)
