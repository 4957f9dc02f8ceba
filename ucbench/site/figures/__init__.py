"""Tables and figures as HTML or SVG, built by pure functions."""
