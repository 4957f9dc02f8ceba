"""Every answer behind the scores: by model, concept, question and verdict."""

from __future__ import annotations

import streamlit as st

st.title("Answers", anchor=False)
