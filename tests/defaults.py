"""What a worker has whose environment says nothing."""

from weir import topics
from weir.settings import Settings

SETTINGS = Settings()
CHAT_PARTITIONS = SETTINGS.chat_partitions
SPECS = topics.specs(SETTINGS)
