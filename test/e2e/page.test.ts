import t from 'tap'
import type { Locator, Page } from 'playwright-core'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, sandboxOn, scripted, send } from '../helpers/chat.js'
import { keys, startService, type Service } from '../helpers/service.js'

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('The page in a real browser', { skip: noBrowser || 'the page test drives the scripted model' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())

  t.test('From the link in the start-up log to the end of the session (7.1-7.6, 7.8-7.10)', async (t) => {
    const service = await startService({ ...local, ACCOUNTS: '' })
    t.teardown(() => service.close())
    const { page, allow } = await openPage(t, browser, service.url)

    await t.test('The link signs in and leaves no trace of its code', async (t) => {
      await page.goto(`${service.url}/#code=${service.app.signInCode}`)
      await page.getByRole('button', { name: 'New sandbox' }).waitFor()
      t.equal(page.url(), `${service.url}/`)
      t.match(await page.locator('#badges').innerText(), /Local mode[^]*Scripted demo model, not Claude/)
      const [painted] = await page.evaluate('performance.getEntriesByName("first-contentful-paint").map((entry) => entry.startTime)') as number[]
      t.comment(`first paint of a cold load after ${Math.round(painted!)} ms`)
      t.ok(painted! < 3000, 'a generous limit, as other tests run at the same time')
      t.equal(await page.evaluate('document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })'), '{}')
    })

    await t.test('A new sandbox shows the steps of its creation, then a chat (7.1, 7.2, 7.3)', async (t) => {
      const seen = stepsUntilChat(page)
      await page.getByRole('button', { name: 'New sandbox' }).click()
      const steps = await seen
      for (const step of ['Find your app', 'Attach the volume', 'Prepare the image', 'Start the sandbox']) {
        t.ok(steps.includes(`started: ${step}`), `"${step}" is shown while it happens`)
      }
      t.ok(steps.includes('done: Find your app'))
      await page.locator('.welcome').waitFor()
      t.equal(await page.locator('.examples button').count(), 3)
      t.match(await page.locator('.time-left').innerText(), /Ends in \d+ min/)
      t.equal(await page.locator('#status').innerText(), 'The sandbox is ready')
    })

    const payload = '<img src=x onerror=alert(1)><script>alert(2)</script> [x](javascript:alert(3)) <b>bold</b>'
    await t.test('An answer streams, with tools and code, and injected markup stays text (7.4-7.6)', async (t) => {
      await send(page, payload)
      const growing = await lengthsUntilFooter(page)
      t.ok(growing.length > 5, `the answer grew in ${growing.length} steps`)
      const turn = page.locator('.turn').last()
      t.equal(await turn.locator('.prompt').evaluate((node: any) => node.lastChild.data), payload)
      t.strictSame(await turn.locator('.tool-name').allInnerTexts(), ['Write', 'Bash'])
      t.equal(await turn.locator('.tool[data-state=done]').count(), 2)
      await turn.locator('.tool', { hasText: 'Bash' }).locator('summary').click()
      t.match(await turn.locator('.tool', { hasText: 'Bash' }).locator('.tool-result code').innerText(), /asked for: <img src=x/)
      t.match(await turn.locator('.claude > .markdown .code figcaption').first().innerText(), /^sh/)
      t.equal(await turn.locator('img, script, b, iframe, [onerror], a[href^=javascript]').count(), 0)
      t.match(await turn.locator('.run-footer').innerText(), /^Done\s+[\d.]+ s\s+\$\d.*tokens in, \d+ out \(made up\)/)
    })

    await t.test('A code block is copied unchanged (7.6)', async (t) => {
      await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: service.url })
      const code = page.locator('.turn').last().locator('.claude > .markdown .code').first()
      await code.getByRole('button', { name: 'Copy' }).click()
      await code.getByRole('button', { name: 'Copied' }).waitFor()
      t.equal(await page.evaluate('navigator.clipboard.readText()'), await code.locator('code').textContent())
    })

    await t.test('A broken connection is resumed without losing or repeating a word', async (t) => {
      await send(page, 'Once more, please.')
      await page.locator('.turn').last().locator('.tool').first().waitFor()
      service.app.server.closeAllConnections()
      await finished(page)
      const text = await page.locator('.turn').last().locator('.claude').innerText()
      t.match(text, /This is turn 2 of our conversation/, 'the conversation continues (4.10, 7.10)')
      for (const once of ['You wrote:', 'Now I run it', 'It printed:', 'What was real']) {
        t.equal(text.split(once).length, 2, `"${once}" occurs once`)
      }
      t.equal(await page.locator('.turn').last().locator('.tool[data-state=done]').count(), 2)
      allow(/Failed to load resource: net::ERR_/)
    })

    await t.test('Escape stops a run, and the page says so until it has ended', async (t) => {
      await send(page, 'And a run that is stopped')
      await page.locator('.turn').last().locator('.markdown').first().waitFor()
      await page.keyboard.press('Escape')
      await page.locator('.activity', { hasText: 'Stopping…' }).waitFor()
      await finished(page)
      t.match(await page.locator('.run-footer').last().innerText(), /^Stopped/)
      t.equal(await page.locator('.turn').last().locator('.tool[data-state=running]').count(), 0)
      t.equal(await page.evaluate('document.activeElement.id'), 'prompt', 'the prompt has the focus again')
      t.equal(await page.locator('[role=alert]', { hasText: /\S/ }).count(), 0)
    })

    await t.test('The start page lists running sandboxes, and the conversation is still there (7.10)', async (t) => {
      await page.getByRole('link', { name: 'All sandboxes' }).click()
      await page.getByRole('button', { name: /^Continue with/ }).click()
      t.equal(await page.locator('.turn').count(), 3)
      const shown = await page.locator('.turn .prompt').allInnerTexts()
      const footers = await page.locator('.run-footer').allTextContents()
      t.equal(footers.length, 3)
      await page.reload()
      await page.locator('.turn').nth(2).locator('.run-footer').waitFor()
      t.strictSame(await page.locator('.run-footer').allTextContents(), footers, 'with the outcome and the figures of each run')
      t.strictSame(await page.locator('.turn .prompt').allInnerTexts(), shown, 'after a reload')
      t.equal(await page.locator('.turn').nth(1).locator('.tool[data-state=done]').count(), 2)
      t.match(await page.locator('.turn').nth(1).locator('.tool-main').first().innerText(), /^hello-/)
      await page.keyboard.press('Control+Shift+O')
      await page.getByText('What should Claude do?').waitFor()
    })

    await t.test('Prompts sent while Claude is working are queued, and a draft survives a reload', async (t) => {
      await send(page, scripted([[{ text: 'First answer. ' }, { tool: 'Bash', input: { command: 'sleep 1' } }], [{ text: 'End of the first.' }]]))
      await page.locator('.turn').last().locator('.tool').waitFor()
      await send(page, scripted([[{ text: 'Second answer.' }]]))
      await send(page, 'never sent')
      t.equal(await page.locator('.queue li').count(), 2)
      await page.locator('.queue li').last().getByRole('button', { name: 'Remove' }).click()
      await page.locator('.turn').nth(1).locator('.run-footer').waitFor()
      t.match(await page.locator('.turn').nth(0).innerText(), /End of the first/)
      t.match(await page.locator('.turn').nth(1).innerText(), /Second answer/)
      t.equal(await page.locator('.turn').count(), 2)
      await page.getByLabel('Prompt', { exact: true }).fill('a draft')
      await page.reload()
      await page.locator('.turn').nth(1).waitFor()
      t.equal(await page.getByLabel('Prompt', { exact: true }).inputValue(), 'a draft')
    })

    await t.test('Shift+Enter and an input method do not send', async (t) => {
      const prompt = page.getByLabel('Prompt', { exact: true })
      await prompt.fill('one')
      await prompt.press('Shift+Enter')
      await prompt.dispatchEvent('keydown', { key: 'Enter', isComposing: true })
      t.equal(await prompt.inputValue(), 'one\n')
      t.equal(await page.locator('.turn').count(), 2)
    })

    await t.test('The end of the session reports what was done and offers a new sandbox (7.8)', async (t) => {
      await page.getByRole('button', { name: 'End session' }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'End session' }).click()
      await page.getByRole('heading', { name: 'You ended this session.' }).waitFor()
      t.match(await page.locator('.report').innerText(), /Remove the sandbox/)
      t.equal(await page.locator('.dock').getByRole('button', { name: 'New sandbox with this workspace' }).count(), 1)
      t.equal((await sandboxesOf(service, page)).length, 0)
    })

    await t.test('A sandbox that was ended elsewhere is noticed, and a new one is offered (7.8)', async (t) => {
      const ended = sandboxOn(page)
      await page.getByRole('button', { name: 'New sandbox with this workspace' }).click()
      await page.waitForURL((url) => url.hash.includes('sandbox=') && !url.hash.includes(ended))
      await page.locator('.turn').nth(1).waitFor()
      t.match(await page.locator('.turn').nth(1).innerText(), /Second answer/, 'the next sandbox continues the conversation')
      const id = sandboxOn(page)
      // The list soon knows that it can be continued there.
      await page.locator(`.rail-link[href*="${id}"]`, { hasText: /^<img src=x/ }).click()
      await page.locator('.turn').nth(2).waitFor()
      t.match(await page.locator('.turn').first().innerText(), /<img src=x onerror/, 'an earlier conversation, too')
      t.equal(await page.evaluate(`fetch('/api/modal/sandbox/${id}', { method: 'DELETE' }).then(({ status }) => status)`), 200)
      await page.getByRole('heading', { name: 'The sandbox has ended.' }).waitFor()
      t.equal(await page.locator('.dock').getByRole('button', { name: 'New sandbox with this workspace' }).count(), 1)
      allow(/^error: Failed to load resource: .*40[49]/)
    })

    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByLabel('API key').waitFor()
  })

  t.test('Errors are shown with a hint, and stay until the user acts (7.7)', async (t) => {
    const service = await startService({ ...local, CLAUDE_IMAGE: 'registry.invalid/nowhere:1' })
    t.teardown(() => service.close())
    const { page, allow } = await openPage(t, browser, service.url, {
      viewport: { width: 390, height: 844 }, colorScheme: 'dark', reducedMotion: 'reduce'
    })
    await page.goto(`${service.url}/#code=outdated`)
    await page.getByRole('alert').getByText('This link is no longer valid.').waitFor()
    await page.getByLabel('API key').fill('not-a-key')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').getByText('Check the key, then try again.').waitFor()
    await page.getByLabel('API key').fill(keys.alice)
    await page.getByLabel('API key').press('Enter')
    await page.getByRole('button', { name: 'New sandbox' }).click()

    await page.getByRole('heading', { name: 'The sandbox was not created' }).waitFor()
    const alert = page.getByRole('alert')
    t.match(await alert.innerText(), /Step: image · Request: req_/)
    t.equal(await page.locator('.steps li[data-state=failed]', { hasText: 'Prepare the image' }).count(), 1)
    t.equal(await page.evaluate('document.documentElement.scrollWidth > innerWidth'), false, 'the page fits a phone')
    const attempt = await requestId(alert)
    const [again] = await Promise.all([
      page.waitForRequest((request) => request.method() === 'POST'),
      alert.getByRole('button', { name: 'Try again' }).click()
    ])
    t.match(again.headers()['idempotency-key'], /^[0-9a-f-]{36}$/, 'a sandbox of an interrupted attempt would be reused')
    await alert.filter({ hasNotText: attempt }).waitFor()
    await alert.getByRole('button', { name: 'Back' }).click()
    await page.getByRole('button', { name: 'New sandbox' }).waitFor()
    allow(/ status of 401 /)
  })

  t.test('Markdown renders the same in any chunks, and never with markup of its own (7.6)', async (t) => {
    const service = await startService(local)
    t.teardown(() => service.close())
    const { page } = await openPage(t, browser, service.url)
    await page.goto(service.url)
    const render = (text: string, size: number) => page.evaluate(`(async () => {
      const { LiveMarkdown } = await import('/markdown/live.js')
      const { loadRenderer } = await import('/markdown/renderer.js')
      await loadRenderer()
      const text = ${JSON.stringify(text)}, live = new LiveMarkdown()
      for (let at = 0; at < text.length; at += ${size}) {
        live.append(text.slice(at, at + ${size}))
        live.finish()
      }
      return live.element.innerHTML
    })()`) as Promise<string>

    for (const text of documents) {
      const whole = await render(text, text.length)
      for (const size of [1, 2, 7]) t.equal(await render(text, size), whole, `in pieces of ${size}: ${text.slice(0, 20)}`)
    }
    const [prose = '', hostile = ''] = documents
    t.match(await render(prose, 50), /<h3 dir="auto">Title<\/h3>.*<ol start="3" dir="auto">\s*<li>three<ul>\s*<li>nested<\/li>\s*<\/ul>\s*<\/li>.*<table dir="auto">/s)
    t.match(await render(prose, 50), /<a href="https:\/\/example\.com\/a_\(b\)"[^>]*rel="noopener noreferrer"/)
    const html = await render(hostile, 50)
    t.notMatch(html, /<(?!\/?(br|p|ul|li|code|pre|figure|figcaption|span|button|strong|em|svg|path|blockquote|div|table|thead|tbody|tr|th|td|h\d)\b)/)
    t.notMatch(html, /<[^>]*\s(on\w+|href|src|style)=/i)
    const startedAt = Date.now()
    for (const repeated of ['`', '**a ', '[a](', '*a _b ', '> ', '- ', '| ', '<http://']) await render(repeated.repeat(9000), 72_000)
    t.ok(Date.now() - startedAt < 20_000, 'no text blocks the browser')
  })
}

const documents = [
  '# Title\n\nSome *em*, **strong**, ***both***, ~~gone~~, `code` and snake_case_name.\nSecond line.\n\n' +
  '3. three\n   - nested\n4. four\n\n- a\n\n- b\n  more of b\n\n> quoted\n> - list in it\n\n' +
  '| a | b |\n|---|:-:|\n| 1 | `x` |\n\n---\n\n[link](https://example.com/a_(b)) and https://example.com/end.\n\n' +
  '````md\n```js\nlet a = 1\n```\n````\n\nlast\n\n~~~\nopen fence\n``',
  '<img src=x onerror=alert(1)> **<svg onload=alert(1)>** [a](javascript:alert(1)) [b](JaVaScRiPt:alert(1))\n' +
  '[c](data:text/html,<script>alert(1)</script>) <javascript:alert(1)> ![d](vbscript:x) [e](//evil.invalid) \n\n' +
  '- <iframe src=javascript:alert(1)>\n- `<b>`\n\n```"><img src=x onerror=alert(1)>\n</code></pre><script>alert(1)</script>\n```\n\n' +
  '| <a href=x> | "onclick=" |\n|---|---|\n| <style>*{} | &lt;b&gt; |\n\n# <script>alert(1)</script>\n\n> <b style=x>'
]

async function requestId (alert: Locator) {
  return /req_\w+/.exec(await alert.innerText())![0]
}

/** Every state of every step that was shown until the chat appeared. */
async function stepsUntilChat (page: Page): Promise<string[]> {
  return await page.evaluate(`new Promise((resolve) => {
    const seen = new Set()
    const observer = new MutationObserver(() => {
      for (const line of document.querySelectorAll('.steps li')) {
        seen.add(line.dataset.state + ': ' + line.querySelector('.step-name').textContent)
      }
      if (!document.getElementById('prompt')) return
      observer.disconnect()
      resolve([...seen])
    })
    observer.observe(document.getElementById('main'), { childList: true, subtree: true, attributes: true })
  })`)
}

/** The different lengths that the latest answer had until its run ended. */
async function lengthsUntilFooter (page: Page): Promise<number[]> {
  return await page.evaluate(`new Promise((resolve) => {
    const turn = [...document.querySelectorAll('.turn')].at(-1)
    const lengths = new Set()
    const observer = new MutationObserver(() => {
      lengths.add(turn.querySelector('.claude').textContent.length)
      if (!turn.querySelector('.run-footer')) return
      observer.disconnect()
      resolve([...lengths])
    })
    observer.observe(turn, { childList: true, subtree: true, characterData: true })
  })`)
}

/** Ids of the running sandboxes of the account that is signed in on the page. */
async function sandboxesOf (service: Service, page: Page): Promise<string[]> {
  const { sandboxes } = await (await page.request.get(`${service.url}/api/modal/sandbox`)).json() as
    { sandboxes: { id: string, status: string }[] }
  return sandboxes.filter(({ status }) => status === 'running').map(({ id }) => id)
}
