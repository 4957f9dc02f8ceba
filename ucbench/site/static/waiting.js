// A page arrives piece by piece, and its figures are filled after that. It is shown once all of it is there
// and its height has held for a moment, so that nothing jumps; after some seconds in any case. A page that was
// sent readable gives way to a page only, however long that takes: the seconds count from its last piece on.
(() => {
  const page = document.documentElement
  let until = performance.now() + 8000
  let arrived = false
  const ended = () => document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]")
      && document.querySelector(".st-key-footer [data-testid=stBidiComponentIsolated]")
  const filled = (figure) => figure.shadowRoot?.querySelector(".uc")?.childElementCount
  const whole = () => {
    const figures = [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")]
    return ended() && !document.querySelector("[data-testid=stSkeleton]")
      && figures.every(filled)
  }
  // What a visitor chose in the menu, in place of the system's colours.
  try {
    const key = Object.keys(localStorage).find((one) => one.startsWith(`stActiveTheme-${location.pathname}-v`))
    const theme = { '"Light"': "as-light", '"Dark"': "as-dark" }[localStorage.getItem(key)]
    if (theme) page.classList.add(theme)
  } catch {} // a frame without storage
  let height = 0
  let since = 0
  const look = () => {
    const now = performance.now()
    const sent = document.querySelector(".sent")
    // Of what was sent the links lead to their pages; buttons do nothing yet.
    for (const control of sent?.shadowRoot?.querySelectorAll("button:not([inert])") ?? []) control.inert = true
    if (sent && !arrived) until = now + 8000
    arrived ||= ended()
    const tall = whole() ? document.querySelector(".stMainBlockContainer").offsetHeight : 0
    if (tall !== height) [height, since] = [tall, now]
    const held = height && now - since > 80
    if (held || now > until) {
      page.dataset.drawn = held ? "whole" : "in part"
      const scrolled = scrollY
      page.classList.add("drawn")
      document.querySelector(".waiting")?.remove()
      // Whoever reads on below stays there.
      if (scrolled) document.querySelector("[data-testid=stMain]").scrollTop = scrolled
    } else setTimeout(look, 16) // a tab behind others draws no frames
  }
  look()
})()
