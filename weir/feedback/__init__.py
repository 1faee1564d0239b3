"""Computes scores and figures from feedback: pure, without Faust, brokers and HTTP."""
