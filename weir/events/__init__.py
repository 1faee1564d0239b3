"""The events of the nine topics: one model for each type, in one file for each topic."""
