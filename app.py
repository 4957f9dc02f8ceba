"""The frame of the site: navigation, wordmark, width. Pages are in `app_pages/`, parts in `ucbench/site`.

The folder is not called `pages/`: Streamlit would serve its files past this frame to whoever comes first
by a deep link.
"""

from __future__ import annotations

import streamlit as st
from streamlit.errors import FragmentHandledException

from ucbench.site import server, theme, url

st.set_page_config(page_title="ucbench", page_icon=theme.ICON, layout="wide")
st.logo(theme.wordmark(st.context.theme.type), size="medium")
st.html(theme.STYLE)

pages = [
    st.Page("app_pages/leaderboard.py", title="Leaderboard", default=True),
    st.Page("app_pages/concepts.py", title="Concepts", url_path="concepts"),
    st.Page("app_pages/alignment.py", title="Alignment", url_path="alignment"),
    st.Page("app_pages/try_a_model.py", title="Try a model", url_path="try"),
    st.Page("app_pages/submit.py", title="Submit", url_path="submit"),
    st.Page("app_pages/queue.py", title="Queue", url_path="queue"),
    st.Page("app_pages/about.py", title="About", url_path="about"),
]
page = st.navigation(pages, position="top")
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
