// npm run build && npx tsx bench/page.ts: how long the page takes over a slow network, until one can use it.
import type { Browser, BrowserContext } from 'playwright-core'
import { openBrowser } from '../test/helpers/browser.js'
import { median, openStage, type Stage } from './stage.js'

const rounds = 5
/** A slow phone, as Lighthouse has it. Chromium delays each request by the whole round trip. */
const network = { offline: false, latency: 150, downloadThroughput: 1.6e6 / 8, uploadThroughput: 750e3 / 8 }

interface Load { usableMs: number, paintMs: number, shift: number, requests: number, kilobytes: number }

interface View {
  name: string
  signedIn: boolean
  hash: string
  /** The page can be used when this is on it. */
  usable: string
}

const stage = await openStage()
const browser = await openBrowser()
try {
  const response = await stage.request('/api/modal/sandbox', { volume: { name: 'bench' } })
  const { id } = await response.json() as { id: string }
  const views: View[] = [
    { name: 'sign-in', signedIn: false, hash: '', usable: '#credential' },
    { name: 'start', signedIn: true, hash: '', usable: '.sandbox' },
    { name: 'chat', signedIn: true, hash: `#sandbox=${id}`, usable: '#prompt' }
  ]
  for (const view of views) {
    const first: Load[] = []
    const again: Load[] = []
    for (let round = 0; round < rounds; round++) {
      const context = await browser.newContext({ viewport: { width: 390, height: 844 } })
      if (view.signedIn) await context.request.post(`${stage.url}/api/session`, { data: { credential: stage.apiKey } })
      first.push(await load(context, stage, view))
      again.push(await load(context, stage, view))
      await context.close()
    }
    print(`${view.name}, first load`, first)
    print(`${view.name}, once more`, again)
  }
  await secondView(browser)
} finally {
  await browser.close()
  await stage.close()
}

async function load (context: BrowserContext, { url }: Stage, { hash, usable }: View): Promise<Load> {
  const page = await context.newPage()
  const devtools = await context.newCDPSession(page)
  await devtools.send('Network.enable')
  await devtools.send('Network.emulateNetworkConditions', network)
  let [requests, bytes] = [0, 0]
  devtools.on('Network.responseReceived', ({ response }) => { if (!response.fromDiskCache) requests++ })
  devtools.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength })
  await page.addInitScript(watch(usable))
  await page.goto(`${url}/${hash}`)
  const { usableMs, paintMs, shift } = await page.evaluate('window.measured') as Omit<Load, 'requests' | 'kilobytes'>
  await page.close()
  return { usableMs, paintMs, shift, requests, kilobytes: bytes / 1000 }
}

/** Resolves when the element is there and the page has been quiet for a second. */
function watch (selector: string) {
  return `window.measured = new Promise((resolve) => {
    let shift = 0
    new PerformanceObserver((list) => { for (const entry of list.getEntries()) shift += entry.value })
      .observe({ type: 'layout-shift', buffered: true })
    const check = () => {
      if (!document.querySelector(${JSON.stringify(selector)})) return requestAnimationFrame(check)
      const usableMs = performance.now()
      const [paint] = performance.getEntriesByName('first-contentful-paint')
      setTimeout(() => resolve({ usableMs, paintMs: paint?.startTime ?? usableMs, shift }), 1000)
    }
    check()
  })`
}

/** From a click on the start page to the chat: what was not loaded with the first view is loaded now. */
async function secondView (browser: Browser) {
  const times: number[] = []
  for (let round = 0; round < rounds; round++) {
    const context = await browser.newContext({ viewport: { width: 390, height: 844 } })
    await context.request.post(`${stage.url}/api/session`, { data: { credential: stage.apiKey } })
    const page = await context.newPage()
    const devtools = await context.newCDPSession(page)
    await devtools.send('Network.emulateNetworkConditions', network)
    await page.goto(stage.url)
    await page.locator('.sandbox').waitFor()
    await page.waitForTimeout(1000)
    const started = performance.now()
    await page.getByRole('button', { name: /^Continue with/ }).click()
    await page.locator('.welcome').waitFor()
    times.push(performance.now() - started)
    await context.close()
  }
  console.log(`from the start page to a chat: ${(median(times) / 1000).toFixed(2)} s`)
}

function print (name: string, loads: Load[]) {
  const of = (field: keyof Load) => median(loads.map((load) => load[field]))
  const seconds = (field: keyof Load) => `${(of(field) / 1000).toFixed(2)} s`
  console.log(`${name}: usable ${seconds('usableMs')}, first paint ${seconds('paintMs')}, ` +
    `layout shift ${of('shift').toFixed(3)}, ${of('requests')} requests, ${of('kilobytes').toFixed(0)} kB`)
}
