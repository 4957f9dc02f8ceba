"""The board in the least that Streamlit needs: one bare table of all rows. The site is measured beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import streamlit as st

from ucbench.board import BOARD

COLUMNS = (
    "model", "rank_low", "rank_high", "balanced_accuracy", "perception", "image_alignment", "text_alignment",
    "modality_gap", "recognised_called_safe", "over_refusal", "general_ability", "diversity",
)  # fmt: skip


@st.cache_data
def rows(path: str) -> pd.DataFrame:
    return pd.read_parquet(path, columns=list(COLUMNS))


st.dataframe(rows(str(Path(os.environ["UCBENCH_RESULTS"]) / BOARD)))
