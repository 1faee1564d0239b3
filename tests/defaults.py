"""What a worker has whose environment says nothing."""

from app import topics
from app.settings import Settings

SETTINGS = Settings()
CHAT_PARTITIONS = SETTINGS.chat_partitions
SPECS = topics.specs(SETTINGS)
