"""What consumes topics: each agent is a decorator, a loop and a call; the logic is in the modules beside it."""
