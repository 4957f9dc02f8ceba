// Gives the rules of all figures to the browser once; figure.js lets each figure adopt them.
export default function ({ data }) {
  const sheet = (window.ucbenchSheet ??= new CSSStyleSheet())
  if (sheet.ucText === data.css) return
  sheet.replaceSync(data.css)
  sheet.ucText = data.css
  document.dispatchEvent(new Event("ucbenchSheet"))
}
