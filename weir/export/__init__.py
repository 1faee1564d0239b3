"""Exports topics as files for other programs: JSON lines, Parquet, and OpenAI's formats for batches and fine-tuning."""
