"""The settings of a worker with an empty environment."""

from weir import topics
from weir.settings import Settings

SETTINGS = Settings()
CHAT_PARTITIONS = SETTINGS.chat_partitions
SPECS = topics.specs(SETTINGS)
