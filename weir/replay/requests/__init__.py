"""Requests, asked again as new ones, and compared with what they got before."""
