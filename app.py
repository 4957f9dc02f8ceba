"""The frame of the site: navigation, wordmark, width, footer. Pages are in `app_pages/`, parts in
`ucbench/site`.

The folder is not called `pages/`: Streamlit would serve its files past this frame to whoever comes first
by a deep link.
"""

from __future__ import annotations

import streamlit as st
from streamlit.errors import FragmentHandledException

from ucbench.site import component, frame, links, theme, unknown, url
from ucbench.site.serving import head, server
from ucbench.site.shared import PageDone

st.set_page_config(page_title=head.NAME, page_icon=theme.ICON, layout="wide")
st.logo(theme.wordmark(st.context.theme.type), size="medium")
if not server.served():
    st.html(theme.STYLE)  # else it is in the page that is sent, before anything is drawn
component.sheet()

pages = [
    st.Page(links.PAGES[address], title=about.title, url_path=address or None, default=not address)
    for address, about in head.PAGES.items()
]
hidden = [
    st.Page(links.PAGES[address], title=about.title, url_path=address, visibility="hidden")
    for address, about in head.HIDDEN.items()
]
if astray := frame.astray():
    # Else Streamlit would show the leaderboard, under a dialog of its own.
    hidden.append(
        st.Page("app_pages/missing.py", title=head.MISSING.title, url_path=astray, visibility="hidden")
    )
page = st.navigation([*pages, *hidden], position="top")
head.entitle(head.subject(page.url_path, st.query_params), page.title)
if links.GO in st.session_state and (pressed := links.target(st.session_state.pop(links.GO))):
    url.follow()
    st.switch_page(pressed[0], query_params=pressed[1])
st.session_state[url.PAGE] = page.url_path
st.session_state.pop(unknown.PLACE, None)
# Where the header has no room for all pages, they stand at the head of the page.
with st.container(key="strip", horizontal=True, gap=None):
    for link in pages:
        st.page_link(link)
st.html(head.CONTENT)
with st.container(horizontal_alignment="center"), st.container(width=1120):
    # Under plain `streamlit run` nobody else turns a fault into a sentence. Reruns pass: Streamlit raises
    # them outside `Exception`; what failed in a dialog has been told there.
    try:
        page.run()
    except PageDone:
        pass
    except FragmentHandledException:
        raise
    except Exception as error:
        server.say_so(error)
    frame.foot()
