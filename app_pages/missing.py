"""An address that leads nowhere: it says so, and where the pages are."""

from __future__ import annotations

import streamlit as st

from ucbench.site import links
from ucbench.site.component import figure
from ucbench.site.footer import listed
from ucbench.site.serving import head

st.title("There is no page here", anchor=False)
with st.container(key="lede"), st.container(key="prose_lede"):
    st.markdown("The address may be mistyped, or the page may have moved. These are all the pages:")
figure(
    listed((links.link(about.title, address), about.description) for address, about in head.PAGES.items()),
    key="pages",
)
