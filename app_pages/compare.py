"""Two to four models side by side: where they differ, and whether that can be told from chance."""

from __future__ import annotations

import streamlit as st

st.title("Compare models", anchor=False)
