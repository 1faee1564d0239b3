"""A chat request, from the check at the door to the terminal record: records, frames, reading, states."""
