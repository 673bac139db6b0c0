import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted, send } from '../helpers/chat.js'
import { fakeService, sandbox, someAnswers } from '../helpers/fake-service.js'
import { startService } from '../helpers/service.js'

const wide = { viewport: { width: 1440, height: 900 } }
const phone = { viewport: { width: 390, height: 844 }, hasTouch: true }
/** A prompt with a first line of its own, by which its conversation is known. */
const says = (title: string, ...turns: unknown[]) => `${title}\n${scripted(turns)}`
/** A turn that lasts until it is {@link open released}, however busy the machine is. */
const lasting = (name: string) =>
  [{ text: 'It begins. ' }, { tool: 'Bash', input: { command: `until [ -e /tmp/go-${name} ]; do sleep 0.2; done` } }]

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('The rail of conversations', { skip: noBrowser || 'drives the scripted model' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())

  /** A service of its own with a page that is signed in, on the start page. */
  const open = async (t: Test, options: object = wide) => {
    const service = await startService({ ...local, ACCOUNTS: '' })
    t.teardown(() => service.close())
    const opened = await openPage(t, browser, service.url, options)
    const { page } = opened
    await page.goto(`${service.url}/#code=${service.app.signInCode}`)
    await page.getByRole('button', { name: 'New sandbox' }).waitFor()
    const call = async (method: string, path: string, json?: object): Promise<any> =>
      await page.evaluate(async ([method, path, body]) => {
        const headers = { accept: 'application/json', ...(body && { 'content-type': 'application/json' }) }
        return await (await fetch(`/api/modal/sandbox${path}`, { method: method!, headers, ...(body && { body }) })).json()
      }, [method, path, json && JSON.stringify(json)])
    /** A sandbox that some other client has made. */
    const create = async (spec: object): Promise<string> => (await call('POST', '', spec)).id
    const release = async (id: string, name: string) => { await call('POST', `/${id}/exec`, { command: ['touch', `/tmp/go-${name}`] }) }
    const enter = async (hash: string) => {
      await page.evaluate(`location.hash = ${JSON.stringify(hash)}`)
      await page.locator('#prompt').waitFor()
    }
    return { ...opened, service, call, create, enter, release }
  }
  const row = (page: Page, title: string) => page.locator('.rail-row', { hasText: title })
  const hashOf = async (page: Page): Promise<string> => await page.evaluate('location.hash')
  const say = async (page: Page, text: string) => {
    await send(page, text)
    await finished(page)
  }
  const answered = async (page: Page, text: string) => {
    await page.locator('.claude', { hasText: text }).waitFor()
    await page.locator('.run-footer').last().waitFor()
  }
  const startNew = async (page: Page) => {
    await page.keyboard.press('Control+Shift+O')
    await page.locator('.welcome').waitFor()
  }
  const act = async (page: Page, title: string, action: string) => {
    await row(page, title).hover()
    await row(page, title).getByRole('button').click()
    await page.getByRole('menuitem', { name: action }).click()
  }

  t.test('Conversations of all sandboxes are in one list, each with its own address', async (t) => {
    const { page, create, enter, service } = await open(t)
    const [one, two] = [await create({ name: 'one', volume: { name: 'first' } }), await create({ name: 'two' })]
    await enter(`#sandbox=${one}`)
    t.equal(await hashOf(page), `#sandbox=${one}`, 'there is none yet')
    await say(page, says('Alpha', [{ text: 'Answer of alpha.' }]))
    const alpha = await hashOf(page)
    t.match(alpha, new RegExp(`^#sandbox=${one}/[0-9a-f-]{36}$`))
    await startNew(page)
    t.equal(await hashOf(page), `#sandbox=${one}/new`)
    await say(page, says('Beta', [{ text: 'Answer of beta.' }]))
    const beta = await hashOf(page)
    await enter(`#sandbox=${two}`)
    await say(page, says('Gamma', [{ text: 'Answer of gamma.' }]))

    await t.test('It says where each is, and which one is shown', async (t) => {
      for (const title of ['Alpha', 'Beta', 'Gamma']) await row(page, title).waitFor()
      t.match(await row(page, 'Alpha').innerText(), /first · \d+ s ago/)
      t.match(await row(page, 'Gamma').innerText(), /two · \d+ s ago/)
      t.match(await page.locator('.rail [aria-current=page]').allInnerTexts(), [/Gamma/])
      t.equal(await page.locator('.rail-row').count(), 3)
    })

    await t.test('Back and forward go through conversations, the title of the tab names them, and a reload stays', async (t) => {
      await row(page, 'Alpha').getByRole('link').click()
      await answered(page, 'Answer of alpha.')
      t.equal(await hashOf(page), alpha)
      t.match(await page.title(), /^Alpha .*· Modal Sandbox$/)
      await row(page, 'Beta').getByRole('link').click()
      await answered(page, 'Answer of beta.')
      await page.goBack()
      await answered(page, 'Answer of alpha.')
      await page.goBack()
      await answered(page, 'Answer of gamma.')
      await page.goForward()
      await page.goForward()
      await answered(page, 'Answer of beta.')
      t.equal(await hashOf(page), beta)
      t.match(await page.title(), /^Beta /)
      await page.reload()
      await answered(page, 'Answer of beta.')
      t.equal(await hashOf(page), beta)
      await row(page, 'Beta').locator('[aria-current=page]').waitFor()
    })

    await t.test('A copied link opens the same conversation in another tab; one that is not there is told', async (t) => {
      const other = await page.context().newPage()
      await other.goto(`${service.url}/${alpha}`)
      await answered(other, 'Answer of alpha.')
      await other.goto(`${service.url}/#sandbox=${one}/00000000-0000-4000-8000-000000000000`)
      await other.getByRole('alert').getByText('This conversation is not in this sandbox.').waitFor()
      await other.close()
      t.equal(await page.locator('.turn').count(), 1)
    })

    await t.test('Each conversation has its draft, also after a reload', async (t) => {
      const prompt = page.getByLabel('Prompt', { exact: true })
      const holds = async (text: string) => { while (await prompt.inputValue() !== text) await sleep(20) }
      await prompt.fill('draft of beta')
      await row(page, 'Alpha').getByRole('link').click()
      await answered(page, 'Answer of alpha.')
      await holds('')
      await prompt.fill('draft of alpha')
      await startNew(page)
      await holds('')
      await prompt.fill('draft of a new one')
      await page.goBack()
      await holds('draft of alpha')
      await page.reload()
      await answered(page, 'Answer of alpha.')
      await holds('draft of alpha')
      await row(page, 'Beta').getByRole('link').click()
      await holds('draft of beta')
      t.equal(await page.evaluate('document.activeElement.id'), 'prompt')
      await page.keyboard.press('Control+Shift+O')
      await holds('draft of a new one')
      await prompt.fill('')
    })

    await t.test('A search finds titles and places; Escape clears it, and then goes back to the prompt', async (t) => {
      const search = page.getByRole('searchbox', { name: 'Search conversations' })
      await search.fill('alp')
      t.match(await page.locator('.rail-title').allInnerTexts(), [/^Alpha/])
      await search.fill('first be')
      t.match(await page.locator('.rail-title').allInnerTexts(), [/^Beta/])
      await search.fill('nowhere')
      await page.getByText('No conversation has these words.').waitFor()
      await search.press('Escape')
      t.equal(await page.locator('.rail-row').count(), 3)
      await search.press('Escape')
      t.equal(await page.evaluate('document.activeElement.id'), 'prompt')
    })
  })

  t.test('While Claude works in one conversation, another one can be read, and the list says what goes on', async (t) => {
    const { page, create, enter, release, allow } = await open(t)
    allow(/status of 409/)
    const id = await create({ name: 'work' })
    await enter(`#sandbox=${id}`)
    await say(page, says('Quiet', [{ text: 'Nothing to do.' }]))
    await startNew(page)
    await send(page, says('Busy', lasting('busy'), [{ text: 'The end.' }]))
    await row(page, 'Busy').locator('.rail-mark', { hasText: 'Working' }).waitFor()
    await page.locator('.turn .tool').waitFor()
    t.match(await page.title(), /^● Working · Busy /)
    await send(page, 'A follow-up that waits')
    await row(page, 'Quiet').getByRole('link').click()
    await answered(page, 'Nothing to do.')
    t.match(await page.title(), /^Quiet /)
    t.equal(await page.locator('.activity').isVisible(), false)
    t.equal(await page.locator('.queue').isVisible(), false, 'what is queued belongs to the other one')
    t.equal(await row(page, 'Busy').locator('.rail-mark').innerText(), 'Working', 'the run goes on')

    await row(page, 'Busy').getByRole('link').click()
    await page.locator('.activity').waitFor()
    t.equal(await page.locator('.turn .tool').count(), 1, 'it is followed again')
    await page.locator('.queue li').getByRole('button', { name: 'Remove' }).click()
    await row(page, 'Quiet').getByRole('link').click()
    await answered(page, 'Nothing to do.')
    // The service knows whole seconds of when a conversation was changed.
    await sleep(2000)
    await release(id, 'busy')
    // As it would be noticed of a run in another browser.
    while (await row(page, 'Busy').locator('.rail-mark').allInnerTexts().then((marks) => marks.join() !== 'New')) {
      await page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
      await sleep(300)
    }
    await row(page, 'Busy').getByRole('link').click()
    await answered(page, 'The end.')
    await row(page, 'Busy').locator('.rail-mark').waitFor({ state: 'detached' })
    t.equal(await page.locator('.turn').count(), 1)

    await t.test('A prompt that another run is in the way of leads to its conversation', async (t) => {
      await send(page, says('Again', lasting('again'), [{ text: 'Over.' }]))
      await page.locator('.turn').last().locator('.tool').waitFor()
      await row(page, 'Quiet').getByRole('link').click()
      await answered(page, 'Nothing to do.')
      await send(page, 'Now this')
      await page.getByRole('alert').getByText('A run is active in this sandbox.').waitFor()
      t.equal(await page.getByLabel('Prompt', { exact: true }).inputValue(), 'Now this')
      await page.getByRole('button', { name: 'Show that run' }).click()
      await page.locator('.turn').nth(1).waitFor()
      await release(id, 'again')
      await finished(page)
      t.match(await page.locator('.turn').last().innerText(), /Over\./)
    })

    await t.test('A question of Claude\'s is a mark, too', async () => {
      await page.locator('.run-options select').first().selectOption('ask')
      await send(page, says('Asking', [{ tool: 'Bash', input: { command: 'touch x' } }], [{ text: 'Done.' }]))
      await page.locator('.permission[data-state=open]').waitFor()
      await page.locator('.rail-row[data-state=waiting]', { hasText: 'Waiting for you' }).waitFor()
      await page.keyboard.press('Control+Shift+Enter')
      await finished(page)
      await page.locator('.rail-row[data-state=waiting]').waitFor({ state: 'detached' })
    })
  })

  t.test('A second tab shows at once what the first one does', async (t) => {
    const { page, create, enter, release, service, allow: allowHere } = await open(t)
    const id = await create({ name: 'shared' })
    await enter(`#sandbox=${id}`)
    // Not a tab of the same browser: only the service can tell it.
    const { page: other, allow } = await openPage(t, browser, service.url, wide)
    await other.context().addCookies(await page.context().cookies())
    await other.goto(`${service.url}/#sandbox=${id}`)
    await other.locator('.welcome').waitFor()
    await other.locator('.connection[data-state=connected]').waitFor()
    await sleep(500)

    const startedAt = Date.now()
    await send(page, says('Together', lasting('together'), [{ text: 'Seen by both.' }]))
    await other.locator('.turn .prompt', { hasText: 'Together' }).waitFor()
    const first = Date.now() - startedAt
    await release(id, 'together')
    await finished(other)
    t.match(await other.locator('.claude').last().innerText(), /Seen by both/)
    t.equal(await hashOf(other), await hashOf(page))

    await finished(page)
    await send(page, says('And again', [{ text: 'The second.' }]))
    await other.locator('.turn').nth(1).locator('.run-footer').waitFor()
    t.strictSame(await other.locator('.turn .prompt').count(), 2, 'each turn once')

    await other.getByLabel('Prompt', { exact: true }).fill('my own draft')
    await finished(page)
    await send(page, says('A third', [{ text: 'The third.' }]))
    await other.getByText('The third.', { exact: true }).waitFor()
    t.equal(await other.getByLabel('Prompt', { exact: true }).inputValue(), 'my own draft')

    await t.test('The end of the sandbox is noticed within two seconds (7.8)', async (t) => {
      const sandbox = await service.app.modal.client.sandboxes.fromId(id)
      await sleep(500)
      const endedAt = Date.now()
      await sandbox.terminate()
      await other.getByRole('heading', { name: 'The sandbox has ended.' }).waitFor()
      const told = Date.now() - endedAt
      await page.getByRole('heading', { name: 'The sandbox has ended.' }).waitFor()
      t.comment(`a run was shown ${first} ms after it was sent, the end ${told} ms after it`)
      t.ok(told < 10_000, 'a generous limit, as other tests run at the same time; a look every 15 seconds would be later')
    })
    for (const allowed of [allow, allowHere]) allowed(/status of 40[49]/)
  })

  t.test('After the end of its sandbox a conversation is still in the list, and goes on in a new one', async (t) => {
    const { page, create, enter, call, allow } = await open(t)
    const kept = await create({ name: 'kept', volume: { name: 'work' } })
    await enter(`#sandbox=${kept}`)
    await say(page, says('Lasting', [{ text: 'To be continued.' }]))
    const hash = await hashOf(page)
    const lost = await create({ name: 'lost' })
    await enter(`#sandbox=${lost}`)
    await say(page, says('Fleeting', [{ text: 'Soon gone.' }]))
    for (const title of ['Lasting', 'Fleeting']) await row(page, title).waitFor()
    await page.getByRole('link', { name: 'All sandboxes' }).click()
    for (const id of [kept, lost]) await call('DELETE', `/${id}`)
    await page.reload()
    const ended = page.getByRole('region', { name: 'Sandbox has ended' })
    await ended.locator('.rail-row').nth(1).waitFor()

    await t.test('One without a volume is said to be gone', async (t) => {
      t.match(await row(page, 'Fleeting').innerText(), /cannot be continued/)
      await row(page, 'Fleeting').getByRole('link').click()
      await page.getByRole('heading', { level: 1, name: 'Fleeting' }).waitFor()
      t.match(await page.locator('main').innerText(), /The sandbox of this conversation has ended[^]*had no volume[^]*cannot be continued/)
      t.equal(await page.getByRole('button', { name: 'Continue in a new sandbox' }).count(), 0)
      await act(page, 'Fleeting', 'Remove from this list')
      await row(page, 'Fleeting').waitFor({ state: 'detached' })
    })

    await t.test('One on a volume is continued where it ended', async (t) => {
      await row(page, 'Lasting').getByRole('link').click()
      await page.getByRole('heading', { level: 1, name: 'Lasting' }).waitFor()
      t.equal(await hashOf(page), hash)
      t.match(await page.locator('main').innerText(), /kept on the volume “work”/)
      await page.getByRole('button', { name: 'Continue in a new sandbox' }).click()
      await answered(page, 'To be continued.')
      const sessionId = hash.split('/')[1]
      t.match(await hashOf(page), new RegExp(`^#sandbox=sb-\\w+/${sessionId}$`))
      t.not(await hashOf(page), hash)
      await say(page, says('More', [{ text: 'And on.' }]))
      t.equal(await page.locator('.turn').count(), 2)
      await page.getByRole('region', { name: 'In running sandboxes' }).locator('.rail-row', { hasText: 'Lasting' }).waitFor()
      t.equal(await page.locator('.rail-row').count(), 1)
    })

    await t.test('An old link leads to the sandbox that has the conversation now', async (t) => {
      await page.evaluate(`location.hash = ${JSON.stringify(hash)}`)
      await page.getByRole('link', { name: 'Open it in the sandbox that is running' }).click()
      await answered(page, 'And on.')
      t.equal((await hashOf(page)).split('/')[1], hash.split('/')[1])
    })

    await t.test('Signing out forgets what the browser knew of them', async (t) => {
      t.match(await page.evaluate('JSON.stringify({ ...localStorage })'), /Lasting/)
      await page.getByRole('button', { name: 'Sign out' }).click()
      await page.getByLabel('API key').waitFor()
      t.notMatch(await page.evaluate('JSON.stringify({ ...localStorage })'), /Lasting|known/)
      t.equal(await page.locator('.rail-row').count(), 0)
      t.equal(await page.title(), 'Modal Sandbox')
    })
    allow(/status of 40[49]/)
  })

  t.test('Conversations are renamed, exported and deleted', async (t) => {
    const { page, create, enter, release, call, allow } = await open(t)
    const id = await create({ name: 'work' })
    await enter(`#sandbox=${id}`)
    await say(page, says('First', [{ text: 'Look:\n\n```js\nlet a = 1\n```' }, { tool: 'Bash', input: { command: "echo 'from ```the``` tool'" } }], [{ text: 'All **done**.' }]))
    const first = await hashOf(page)
    await startNew(page)
    await say(page, says('Second', [{ text: 'Two.' }]))
    await row(page, 'First').waitFor()
    await row(page, 'Second').waitFor()
    const titles = async (): Promise<string[]> => (await call('GET', `/${id}/sessions`)).sessions.map(({ title }: any) => title)

    await t.test('A new name is shown everywhere, and is the service\'s', async (t) => {
      await act(page, 'Second', 'Rename')
      await page.getByLabel(/^Name/).fill('The <b>second</b>')
      await page.keyboard.press('Enter')
      await row(page, 'The <b>second</b>').waitFor()
      t.strictSame((await titles()).sort()[1], 'The <b>second</b>')
      await page.locator('.conversation-title', { hasText: 'The <b>second</b>' }).waitFor()
      t.match(await page.title(), /^The <b>second<\/b> · /)
      await page.reload()
      await row(page, 'The <b>second</b>').waitFor()
      await page.locator('.conversation-title', { hasText: 'The <b>second</b>' }).waitFor()
    })

    await t.test('As Markdown it reads as it was said, and as JSON it has every message', async (t) => {
      const save = async (action: string) => {
        const [download] = await Promise.all([page.waitForEvent('download'), act(page, 'First', action)])
        return { name: download.suggestedFilename(), text: await readFile(await download.path(), 'utf8') }
      }
      const markdown = await save('Export as Markdown')
      t.match(markdown.name, /^First-.*\.md$/)
      t.match(markdown.text, /^# First[^]*\n## You\n\nFirst[^]*\n## Claude\n\nLook:\n\n```js\nlet a = 1\n```\n\n\*\*Bash\*\*\n\n````sh\necho 'from ```the``` tool'\n````\n\n````\nfrom ```the``` tool\n````\n\nAll \*\*done\*\*\.\n$/)
      const json = await save('Export as JSON')
      t.match(json.name, /^First-.*\.json$/)
      const saved = JSON.parse(json.text)
      const { messages } = await call('GET', `/${id}/sessions/${first.split('/')[1]}`)
      t.match(saved, { sessionId: first.split('/')[1], title: /^First/, workspace: 'work' })
      t.strictSame(saved.messages, messages)
    })

    await t.test('Deleting asks first; then the one that was shown makes way for a new one', async (t) => {
      await row(page, 'First').getByRole('link').click()
      await page.locator('.claude', { hasText: 'All done.' }).waitFor()
      await act(page, 'First', 'Delete')
      await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click()
      t.equal((await titles()).length, 2)
      await act(page, 'First', 'Delete')
      t.match(await page.getByRole('dialog').innerText(), /Files that Claude has written stay/)
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
      await row(page, 'First').waitFor({ state: 'detached' })
      await page.locator('.welcome').waitFor()
      t.equal(await hashOf(page), `#sandbox=${id}/new`)
      t.strictSame(await titles(), ['The <b>second</b>'])
      await page.reload()
      await row(page, 'The <b>second</b>').waitFor()
      t.equal(await page.locator('.rail-row').count(), 1)
    })

    await t.test('What Claude works in is not deleted', async () => {
      await row(page, 'The <b>second</b>').getByRole('link').click()
      await page.locator('.turn').waitFor()
      await send(page, says('Busy', lasting('ready'), [{ text: 'Ready.' }]))
      await page.locator('.turn').nth(1).locator('.tool').waitFor()
      await act(page, 'The <b>second</b>', 'Delete')
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
      await page.locator('.rail').getByRole('alert').getByText('“The <b>second</b>”: Claude is working in this conversation.').waitFor()
      await page.locator('.rail').getByRole('button', { name: 'Dismiss' }).click()
      await release(id, 'ready')
      await finished(page)
    })
    allow(/status of 409/)
  })

  t.test('Beside the chat where there is room, over it elsewhere, and both with the keyboard', async (t) => {
    const { page, create, enter } = await open(t, phone)
    const id = await create({ name: 'work' })
    await enter(`#sandbox=${id}`)
    await say(page, says('Small', [{ text: 'On a phone.' }]))
    t.equal(await page.locator('.rail').isVisible(), false)
    const toggle = page.getByRole('button', { name: 'Conversations', exact: true })
    const drawer = page.getByRole('dialog', { name: 'Conversations' })
    await toggle.focus()
    await page.keyboard.press('Enter')
    await drawer.locator('.rail-row', { hasText: 'Small' }).waitFor()
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 390)
    await page.keyboard.press('Escape')
    t.equal(await drawer.isVisible(), false)
    t.equal(await page.evaluate('document.activeElement.ariaLabel'), 'Conversations', 'the focus is back')
    await toggle.click()
    await drawer.getByRole('link', { name: 'New conversation' }).click()
    await page.locator('.welcome').waitFor()
    t.equal(await drawer.isVisible(), false, 'it makes way for what was chosen')
    await toggle.click()
    await drawer.getByRole('button', { name: /^Actions for Small/ }).click()
    await page.getByRole('menuitem', { name: 'Rename' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('menuitem', { name: 'Rename' }).waitFor({ state: 'hidden' })
    t.ok(await drawer.isVisible(), 'only the menu was closed')
    await page.keyboard.press('Escape')

    await toggle.click()
    await drawer.getByRole('link', { name: 'All sandboxes' }).click()
    await page.getByRole('button', { name: 'New sandbox' }).waitFor()
    t.equal(await drawer.isVisible(), false)
    await page.goBack()

    await page.setViewportSize({ width: 1280, height: 800 })
    await page.locator('.rail .rail-row', { hasText: 'Small' }).waitFor()
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 1280)
    await toggle.click()
    await page.locator('.rail').waitFor({ state: 'hidden' })
    await page.reload()
    await page.locator('#prompt').waitFor()
    t.equal(await page.locator('.rail').isVisible(), false, 'as it was left')
    await toggle.click()
    await page.locator('.rail .rail-row', { hasText: 'Small' }).waitFor()
    t.equal(await page.evaluate('document.activeElement.ariaLabel'), 'Search conversations')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Tab')
    t.equal(await page.evaluate('document.activeElement.className'), 'rail-link')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await page.getByRole('menuitem', { name: 'Rename' }).waitFor()
    await page.keyboard.press('ArrowDown')
    t.equal(await page.evaluate('document.activeElement.textContent'), 'Export as Markdown')
    await page.keyboard.press('Escape')
    t.match(await page.evaluate('document.activeElement.ariaLabel'), /^Actions for Small/, 'the focus is back')
    await page.keyboard.press('Shift+Tab')
    await page.keyboard.press('Enter')
    await answered(page, 'On a phone.')
  })

  t.test('What the browser keeps is bounded, of one account, and of its own sandboxes only', async (t) => {
    const service = await startService(local)
    t.teardown(() => service.close())
    const { page, allow } = await openPage(t, browser, service.url, wide)
    const sandboxes = ['a', 'b', 'c'].map((name) => ({ ...sandbox, id: `sb-${name}`, name, volume: { name, mountPath: '/workspace' }, s3: null }))
    const sessions = (name: string) => Array.from({ length: 90 }, (_, at) => {
      const time = new Date(Date.now() - at * 60_000).toISOString()
      return { sessionId: `${name}-${at}`, title: `${name} ${at} ${'x'.repeat(300)}`, startedAt: time, updatedAt: time, messages: 2 }
    })
    const listed = sandboxes.flatMap(({ id, name }): [string, unknown][] => [
      [`GET /api/modal/sandbox/${id}/sessions`, { sessions: sessions(name) }], [`GET /api/modal/sandbox/${id}/claude`, { runs: [] }]
    ])
    const answers = someAnswers({ 'GET /api/modal/sandbox': { sandboxes, nextCursor: null }, ...Object.fromEntries(listed) })
    await fakeService(page, answers)
    await page.goto(service.url)
    await page.locator('.rail-row').nth(269).waitFor()
    const stored = JSON.parse(await page.evaluate('localStorage["modal-sandbox.known.acme"]') as string)
    t.equal(stored.conversations.length, 200)
    t.ok(stored.conversations.every(({ title }: any) => title.length <= 100))
    t.ok(stored.conversations.every(({ sessionId }: any) => Number(sessionId.split('-')[1]) < 70), 'the latest ones')

    answers['GET /api/modal/sandbox'] = { sandboxes: [], nextCursor: null }
    await page.reload()
    await page.getByRole('region', { name: 'Sandbox has ended' }).locator('.rail-row').nth(199).waitFor()
    answers['GET /api/modal/status'] = { configured: true, backend: 'modal', model: 'claude', account: 'other' }
    await page.reload()
    await page.getByText('No conversations yet.').waitFor()
    answers['GET /api/modal/sandbox'] = { statusCode: 503, code: 'MODAL_UNAVAILABLE', message: 'Modal is down.' }
    await page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
    await page.getByText('This list may be out of date').waitFor()
    allow(/status of 503/)
  })

  t.test('The list is loaded after the first view, and moves nothing', async (t) => {
    const { page, service } = await open(t)
    await page.goto('about:blank')
    const requests: string[] = []
    page.on('request', (request) => requests.push(new URL(request.url()).pathname))
    await page.addInitScript(`
      window.shifts = []
      new PerformanceObserver((list) => { for (const entry of list.getEntries()) shifts.push(entry.value) })
        .observe({ type: 'layout-shift', buffered: true })
    `)
    await page.goto(service.url)
    await page.getByText('No conversations yet.').waitFor()
    const first = requests.findIndex((path) => path.startsWith('/rail/'))
    t.ok(first > requests.findIndex((path) => path === '/api/modal/sandbox'), 'after the view has asked for what it shows')
    const shift = (await page.evaluate('shifts') as number[]).reduce((sum, value) => sum + value, 0)
    t.ok(shift < 0.02, `layout shift ${shift.toFixed(4)}`)
  })
}
