// Shows HTML that the server built (every outside text in it is escaped there) and reports which
// [data-choose] control or [data-go] link a visitor pressed. Focus survives a redraw.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".uc")
  if (!root) return
  dress(root)
  if (root.ucHtml !== data.html) {
    const active = root.getRootNode().activeElement
    const held = active?.dataset?.choose ?? active?.dataset?.go
    const kept = () => root.querySelectorAll("details[data-keep]")
    const folds = new Map([...kept()].map((fold) => [fold.dataset.keep, fold.open]))
    const summary = root.getRootNode().activeElement?.closest?.("summary")?.parentElement.dataset.keep
    root.innerHTML = data.html
    root.ucHtml = data.html
    root.ucTicks = new Map()
    // What a visitor unfolded stays so.
    for (const fold of kept()) {
      if (folds.has(fold.dataset.keep)) fold.open = folds.get(fold.dataset.keep)
      if (summary !== undefined && fold.dataset.keep === summary) {
        fold.querySelector("summary").focus({ preventScroll: true })
      }
    }
    if (held !== undefined) {
      for (const control of root.querySelectorAll("[data-choose], [data-go]")) {
        if ((control.dataset.choose ?? control.dataset.go) === held) control.focus({ preventScroll: true })
      }
    }
  }
  root.onclick = (event) => {
    const link = event.target.closest("a[data-go]")
    if (link && event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)) {
      event.preventDefault()
      oneStep(link.href)
      setTriggerValue("choose", "go:" + link.dataset.go)
      return
    }
    const control = event.target.closest("[data-choose]")
    if (!control) return
    if (control.type === "checkbox") {
      // All that was ticked since the last drawing: of two ticks in a row the first would be lost.
      const ticks = (root.ucTicks ??= new Map()).set(control.dataset.choose, control.checked)
      const told = [...ticks].map(([what, on]) => (on ? "+" : "-") + what)
      setTriggerValue("choose", "tick:" + told.join(","))
      return
    }
    setTriggerValue("choose", control.dataset.choose)
    // What was chosen shows at the head of the page.
    if ("top" in control.dataset) document.querySelector(".stMain")?.scrollTo({ top: 0 })
  }
}

// The rules come by themselves (sheet.js), as a rule before the first figure.
function dress(root) {
  const house = root.getRootNode()
  const adopt = () => {
    const sheet = window.ucbenchSheet
    if (!house.adoptedStyleSheets.includes(sheet)) house.adoptedStyleSheets.push(sheet)
    root.style.visibility = ""
  }
  if (window.ucbenchSheet) return adopt()
  root.style.visibility = "hidden"
  document.addEventListener("ucbenchSheet", adopt, { once: true })
}

// On its way to another page Streamlit writes the new choices behind the old page first, each an entry of its
// own in the history: all until the address of the link become one, so that one step back is the view left.
function oneStep(href) {
  const steps = (window.ucbenchSteps ??= patched())
  steps.to = new URL(href, document.baseURI)
  steps.until = performance.now() + 10000
  steps.taken = false
}

function patched() {
  const steps = {}
  const push = history.pushState.bind(history)
  const there = () => location.pathname === steps.to.pathname && location.search === steps.to.search
  history.pushState = (state, title, url) => {
    if (performance.now() > steps.until) return push(state, title, url)
    if (steps.taken) history.replaceState(state, title, url)
    else push(state, title, url)
    steps.taken = true
    // The page there may still put its own choices in order.
    if (there()) steps.until = Math.min(steps.until, performance.now() + 1000)
  }
  return steps
}
