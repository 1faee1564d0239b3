"""Topics as files for other programs: lines of JSON, Parquet, and what OpenAI's Batch and fine-tuning APIs read."""
