"""Messages that readers meet, each with a way to provoke it and a cure: the troubleshooting page, as data."""

from tests.troubles.batches import BATCHES
from tests.troubles.checkpoints import CHECKPOINTS
from tests.troubles.generation import GENERATION
from tests.troubles.hosted import HOSTED
from tests.troubles.installing import INSTALLING
from tests.troubles.reading import READING
from tests.troubles.training import TRAINING
from tests.troubles.versions import VERSIONS

TROUBLES = {
    "Installing": INSTALLING,
    "Data": READING,
    "Tokens and batches": BATCHES,
    "Training": TRAINING,
    "Checkpoints and models": CHECKPOINTS,
    "Generation": GENERATION,
    "Hosted models": HOSTED,
    "Versions": VERSIONS,
}
