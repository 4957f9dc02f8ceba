"""The frame's own marks: the wordmark, and the few lines of CSS that no setting covers."""

from __future__ import annotations

from pathlib import Path

#: The sign for the browser's tab. A file of ours: a Material icon would be fetched from another host.
ICON = Path(__file__).with_name("static") / "icon.svg"

#: Ink, image and text of each theme, as in `.streamlit/config.toml`.
WORDMARK_COLOURS = {"light": ("#1B1E24", "#0072B2", "#D55E00"), "dark": ("#EDEBE6", "#5AB4E8", "#F28E4B")}

#: The letters u c b e n c h as strokes on a grid: x-height 10, baseline at 18.
_LETTERS = (
    "M2 8v5.5a4 4 0 0 0 8 0V8M10 13v5",
    "M21.2 10.2a5 5 0 1 0 0 5.6",
    "M26 2v16M26 13a5 5 0 1 1 0 .01",
    "M40.2 13h9.6a5 5 0 1 0-1.5 3.6",
    "M54.6 18V8M54.6 12a4 4 0 0 1 8 0v6",
    "M75.2 10.2a5 5 0 1 0 0 5.6",
    "M80 18V2M80 12a4 4 0 0 1 8 0v6",
)

STYLE = """<style>
/* Tabular figures everywhere; a reading width for running text. */
.stApp { font-variant-numeric: tabular-nums lining-nums; }
.stApp p { text-wrap: pretty; }
[class*="st-key-prose"] { max-width: 44rem; }
.st-key-lede p { font-size: 1.125rem; line-height: 1.55; }
/* Streamlit's grey of a caption is too pale to read by WCAG 2.2 AA. */
.stApp [data-testid="stCaptionContainer"] { color: inherit; opacity: .75; }
/* A way to copy code that needs no hovering. */
[data-testid="stCodeCopyButton"] { opacity: 1; }
/* A primary button writes in white whatever its colour: here it writes in the colour of the paper. */
[data-testid^="stBaseButton-primary"]:enabled { color: light-dark(#FFFFFF, #121416); }
/* Blue is what a model saw as image: what is only told stands on grey, in ink. */
[data-testid="stAlertContainer"]:has([data-testid="stAlertContentInfo"]) {
  background: rgba(128, 128, 128, .12); color: inherit; }
[data-testid="stAlertContentInfo"], [data-testid="stAlertContentInfo"] * { color: inherit; }
/* The head of the page in line with its body. */
.stAppHeader > div { max-width: calc(1120px + 2rem); margin-inline: auto; }
/* One list of all pages: in the header where it fits, else at the head of the page. */
@media (min-width: 1200px) { .st-key-strip { display: none; } }
@media (max-width: 1199px) {
  [data-testid="stExpandSidebarButton"], [data-testid="stTopNav"] { display: none; } }
/* Streamlit keeps a second list of pages off the screen, where the Tab key still finds it. */
[data-testid="stSidebar"] { display: none; }
.stAppHeader [data-testid="stTopNavLink"] { padding-inline: .45rem; }
@media (max-width: 1199px) { .stMainBlockContainer { padding-inline: 1rem; } }
.stElementContainer:has(#main-content), .st-key-sheet { position: absolute; }
.st-key-strip { gap: 0 1rem; margin-bottom: -.75rem; }
.st-key-strip [data-testid="stPageLink-NavLink"] { padding: 0; min-height: 2rem; background: none; }
.stMainBlockContainer [data-testid="stPageLink-NavLink"] { padding-left: 0; background: none; }
.stMainBlockContainer [data-testid="stPageLink-NavLink"]:hover {
  text-decoration: underline; text-underline-offset: .3em; }
.st-key-strip [data-testid="stPageLink-NavLink"] p { font-size: .875rem; }
.st-key-strip [aria-current="page"] { text-decoration: underline; text-underline-offset: .3em; }
@media (max-width: 767px) { .st-key-queue_filters > :first-child { flex-basis: 100%; } }
/* Beside lists, a choice of words is as high as they are, so that labels stand on one line. */
.st-key-scope_choices [data-testid="stButtonGroup"] button { min-height: 2.5rem; }
/* What an address names in vain is told on a line of its own. */
[class*="st-key-unknown_"] { flex-basis: 100%; }
/* The page that is sent has a way past the navigation; Streamlit's own would be a second one. */
[data-testid="stSkipToContent"] { display: none; }
/* Where the keyboard is: a line around, in the colour of the text. */
:is(.stAppHeader, .st-key-strip, .stMainBlockContainer) a:focus-visible {
  outline: 2px solid currentColor; outline-offset: 2px; border-radius: 3px; }
.st-key-emblem img { border-radius: 4px; }
/* Tables of running text in hairlines, as all tables here. */
[data-testid="stMarkdownContainer"] :is(th, td) { border-width: 0 0 1px; padding: .5rem 1.25rem .5rem 0; }
[data-testid="stMarkdownContainer"] th {
  font-weight: 400; font-size: .8125rem; opacity: .8; vertical-align: bottom; }
/* Choices one below the other are of one width. */
@media (max-width: 640px) {
  .stMainBlockContainer .stElementContainer:has(
    > :is(.stSelectbox, .stMultiSelect, .stTextInput, .stButtonGroup)) {
    width: 100% !important; flex-basis: 100% !important; }
  [data-testid="stButtonGroup"] button { padding-inline: .65rem; } }
/* What was chosen among many writes in white on the accent, which is light in the dark. */
[data-testid="stMultiSelectTagsContainer"] [data-tag] { background: rgba(128, 128, 128, .18); }
[data-testid="stMultiSelectTagsContainer"] :is([data-tag], [data-tag] *) { color: inherit; }
</style>"""


def wordmark(theme: str | None) -> str:
    """The name with its sign, a dumbbell of image and text, as SVG in the colours of a theme."""
    return wordmark_in(*WORDMARK_COLOURS["dark" if theme == "dark" else "light"])


def wordmark_in(ink: str, image: str, text: str) -> str:
    """The same in other colours, as CSS writes them."""
    strokes = "".join(f'<path d="{path}"/>' for path in _LETTERS)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="132" height="22" viewBox="0 0 132 22">'
        f'<path d="M6 12H28" stroke="{ink}" stroke-opacity=".35" stroke-width="2.5"/>'
        f'<circle cx="6" cy="12" r="5" fill="{image}"/>'
        f'<rect x="24" y="7.5" width="9" height="9" rx="1.5" fill="{text}"/>'
        f'<g transform="translate(42 1)" fill="none" stroke="{ink}" stroke-width="2.1" '
        f'stroke-linecap="round" stroke-linejoin="round">{strokes}</g></svg>'
    )
