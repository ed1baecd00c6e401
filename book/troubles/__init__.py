"""Messages that readers meet, each with a way to provoke it and a cure: the troubleshooting page, as data."""

from book.troubles.batches import BATCHES
from book.troubles.checkpoints import CHECKPOINTS
from book.troubles.generation import GENERATION
from book.troubles.hosted import HOSTED
from book.troubles.installing import INSTALLING
from book.troubles.reading import READING
from book.troubles.runs import RUNS
from book.troubles.training import TRAINING
from book.troubles.versions import VERSIONS

TROUBLES = {
    "Installing": INSTALLING,
    "Data": READING,
    "Tokens and batches": BATCHES,
    "Runs": RUNS,
    "Training": TRAINING,
    "Checkpoints and models": CHECKPOINTS,
    "Generation": GENERATION,
    "Hosted models": HOSTED,
    "Versions": VERSIONS,
}
