from .leaks import find_leaks as find_leaks
from .leaks import jaccard as jaccard
from .leaks import shingles as shingles
from .messages import Message as Message
from .messages import assistant as assistant
from .messages import (
    clean_message as clean_message,
)
from .messages import user as user
from .preferences import iter_preferences as iter_preferences
from .preferences import load_preferences as load_preferences
from .reading import (
    iter_conversations as iter_conversations,
)
from .reading import (
    load_conversations as load_conversations,
)
from .reading import (
    read_rows as read_rows,
)
from .reading import (
    to_conversations as to_conversations,
)
from .sources import (
    dataset_path as dataset_path,
)
from .sources import (
    shipped_datasets as shipped_datasets,
)
from .sources import (
    source_file as source_file,
)
from .writing import (
    save_conversations as save_conversations,
)
