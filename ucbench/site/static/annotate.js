// Shows the HTML of one picture (every outside text in it is escaped by the server) and reports what an
// annotator pressed, by mouse or key. After a press nothing counts until the server has answered, so that
// no key decides on a picture that its finger did not see.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".look")
  if (!root) return
  if (root.ucToken === undefined && document.activeElement?.closest("[data-testid=stMain] button")) {
    // The button that led here is on its way out and must not take the first key.
    document.activeElement.blur()
  }
  if (root.ucToken !== data.token) {
    const held = root.getRootNode().activeElement?.dataset?.act
    root.innerHTML = data.html
    root.ucToken = data.token
    root.ucBusy = false
    if (held !== undefined) root.querySelector(`[data-act="${held}"]:enabled`)?.focus({ preventScroll: true })
  }
  const act = (name) => {
    if (root.ucBusy) return
    root.ucBusy = true
    setTriggerValue("act", { action: name, item: data.item })
  }
  root.onclick = (event) => {
    const control = event.target.closest("[data-act]:enabled")
    if (!control) return
    // A mouse leaves no focus behind: Space would press that button again instead of showing a picture.
    if (event.detail > 0) control.blur()
    act(control.dataset.act)
  }
  root.ucKeys?.abort()
  root.ucKeys = new AbortController()
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const origin = event.composedPath()[0]
    if (origin instanceof Element && origin.closest("input, textarea, select, [contenteditable=true]")) return
    // A button that was reached by Tab answers to Space itself.
    if (event.key === " " && origin instanceof Element && origin.closest("button, a, summary")) return
    const name = data.keys[event.key.toLowerCase()]
    if (!name) return
    event.preventDefault()
    event.stopPropagation()
    if (!event.repeat && root.querySelector(`[data-act="${name}"]:enabled`)) act(name)
  }, { capture: true, signal: root.ucKeys.signal })
  return () => root.ucKeys?.abort()
}
