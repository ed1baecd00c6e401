from .context import (
    count_prompt_tokens as count_prompt_tokens,
)
from .context import (
    fit_history as fit_history,
)
from .decoding import Sampling as Sampling
from .generation import (
    answer as answer,
)
from .generation import (
    check_questions as check_questions,
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
from .notes import (
    Notes as Notes,
)
from .notes import (
    read_notes as read_notes,
)
from .notes import (
    with_note as with_note,
)
