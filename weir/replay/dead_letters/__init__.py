"""Dead letters, sent again."""
