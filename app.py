"""The frame of the site: navigation, wordmark, width. Pages are in `app_pages/`, parts in `ucbench/site`.

The folder is not called `pages/`: Streamlit would serve its files past this frame to whoever comes first
by a deep link.
"""

from __future__ import annotations

import streamlit as st
from streamlit.errors import FragmentHandledException

from ucbench.site import links, server, theme, url

st.set_page_config(page_title="ucbench", page_icon=theme.ICON, layout="wide")
st.logo(theme.wordmark(st.context.theme.type), size="medium")
st.html(theme.STYLE)

pages = [
    st.Page(links.PAGES[""], title="Leaderboard", default=True),
    st.Page(links.PAGES["concepts"], title="Concepts", url_path="concepts"),
    st.Page(links.PAGES["compare"], title="Compare", url_path="compare"),
    st.Page(links.PAGES["answers"], title="Answers", url_path="answers"),
    st.Page(links.PAGES["alignment"], title="Alignment", url_path="alignment"),
    st.Page(links.PAGES["try"], title="Try a model", url_path="try"),
    st.Page(links.PAGES["submit"], title="Submit", url_path="submit"),
    st.Page(links.PAGES["queue"], title="Queue", url_path="queue"),
    st.Page(links.PAGES["about"], title="About", url_path="about"),
]
# Reached from the models' names.
hidden = [st.Page(links.PAGES["model"], title="Model", url_path="model", visibility="hidden")]
page = st.navigation([*pages, *hidden], position="top")
if links.GO in st.session_state and (pressed := links.target(st.session_state.pop(links.GO))):
    st.switch_page(pressed[0], query_params=pressed[1])
st.session_state[url.PAGE] = page.url_path
# On a phone the header folds the pages away behind a button; there they stand at the head of the page.
with st.container(key="phone_nav", horizontal=True, gap="small"):
    for link in pages:
        st.page_link(link)
with st.container(horizontal_alignment="center"), st.container(width=1120):
    # Under plain `streamlit run` nobody else turns a fault into a sentence. Stops and reruns pass:
    # Streamlit raises them outside `Exception`; what failed in a dialog has been told there.
    try:
        page.run()
    except FragmentHandledException:
        raise
    except Exception as error:
        server.say_so(error)
