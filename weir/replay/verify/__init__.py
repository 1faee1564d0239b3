"""Tables, made anew from their topics, beside the live ones."""
