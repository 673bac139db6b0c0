// Draws diagrams for markdown/diagram.js. It runs in a frame of its own, without an origin, as the library puts markup
// and styles of its own into a document; what leaves the frame is shown as an image, in which nothing runs.

/** One after another: the library draws into the document. */
let queue = Promise.resolve()

window.addEventListener('message', ({ data: { id, text, dark }, source }) => {
  queue = queue.then(() => draw(id, text, dark)).then(
    (svg) => source.postMessage({ id, svg }, '*'),
    () => source.postMessage({ id }, '*'))
})

async function draw (id, text, dark) {
  window.mermaid.initialize({
    startOnLoad: false,
    securityLevel: 'strict',
    suppressErrorRendering: true,
    theme: dark ? 'dark' : 'default',
    fontFamily: 'system-ui, sans-serif',
    // Labels of HTML would not be drawn in an image by every browser.
    htmlLabels: false,
    flowchart: { htmlLabels: false }
  })
  const { svg } = await window.mermaid.render(`diagram-${id}`, text)
  const parsed = new window.DOMParser().parseFromString(svg, 'text/html').querySelector('svg')
  // An image is XML, which the library's markup need not be.
  return new window.XMLSerializer().serializeToString(parsed)
}
