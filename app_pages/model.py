"""One model: its scores by category and concept, its evidence, its answers."""

from __future__ import annotations

import streamlit as st

st.title("Model", anchor=False)
