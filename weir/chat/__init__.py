"""A chat request, from what every door checks to its end: records, frames, reading, states."""
