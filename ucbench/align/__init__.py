"""Alignment: teach a VLM to judge what it already sees, and measure what that did to the rest of it."""
