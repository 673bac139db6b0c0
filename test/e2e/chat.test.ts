import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { noBrowser, openBrowser, openPage } from '../helpers/browser.js'
import { finished, local, scripted, send } from '../helpers/chat.js'
import { startService } from '../helpers/service.js'

if (noBrowser || process.env.TEST_LIVE === '1') {
  t.test('The chat in a real browser', { skip: noBrowser || 'the page test drives the scripted model' }, async () => {})
} else {
  const browser = await openBrowser()
  t.teardown(() => browser.close())

  t.test('A conversation with everything that Claude Code does', async (t) => {
    const service = await startService({ ...local, ACCOUNTS: '' })
    t.teardown(() => service.close())
    const { page, allow } = await openPage(t, browser, service.url)
    await page.goto(`${service.url}/#code=${service.app.signInCode}`)

    await t.test('The form has all options, marks the invalid field, and remembers everything but secrets', async (t) => {
      await page.getByRole('button', { name: 'Options' }).click()
      await page.getByLabel('Name', { exact: true }).fill('not a name')
      await page.locator('summary', { hasText: 'Environment' }).click()
      await page.getByLabel('Variables').fill('TOKEN=very-secret\nnonsense')
      await page.getByRole('button', { name: 'Create' }).click()
      await page.getByRole('alert').getByText('Variables: “nonsense” must have the form NAME=value.').waitFor()
      await page.getByLabel('Variables').fill('TOKEN=very-secret')
      await page.locator('summary', { hasText: 'Tags' }).click()
      await page.getByLabel('Tags').fill('team=web')
      await page.getByRole('button', { name: 'Create' }).click()
      await page.getByRole('button', { name: 'Edit options' }).click()
      await page.locator('[aria-invalid=true]').waitFor()
      t.equal(await page.locator('[aria-invalid=true]').getAttribute('name'), 'name')
      t.equal(await page.getByLabel('Variables').inputValue(), 'TOKEN=very-secret', 'all input is kept')
      await page.getByLabel('Name', { exact: true }).fill('project')
      await page.getByRole('button', { name: 'Create' }).click()
      await page.locator('.welcome').waitFor()
      const stored = await page.evaluate('JSON.stringify({ ...localStorage, ...sessionStorage })') as string
      t.match(stored, /team/)
      t.notMatch(stored, /very-secret/)
      allow(/status of 400 /)
    })

    await t.test('Each tool is one line, failed ones with their error, and changes are diffs with line numbers', async (t) => {
      await send(page, scripted([
        [{ thinking: 'First I look around.' }, { tool: 'Write', input: { file_path: '/workspace/a.js', content: 'let a = 1\nlet b = 2\n' } }],
        [{ tool: 'Read', input: { file_path: '/workspace/a.js' } }],
        [{ tool: 'Edit', input: { file_path: '/workspace/a.js', old_string: 'let b = 2', new_string: 'let b = 3\nlet c = 4' } }],
        [{ tool: 'Bash', input: { command: 'seq 1 10000' } }, { tool: 'Bash', input: { command: 'echo broken >&2; exit 3' } }],
        [{ text: 'Here it is:\n\n```js\nconst answer = 42 // yes\n```\n\nAnd that is all.', chunk: 3 }]
      ]))
      await finished(page)
      const turn = page.locator('.turn').last()
      t.strictSame(await turn.locator('.tool').evaluateAll((tools: any[]) => tools.map((tool) => [tool.dataset.tool, tool.dataset.state, tool.open].join(' '))), [
        'Write done false', 'Read done false', 'Edit done false', 'Bash done false', 'Bash failed false'])
      t.equal(await turn.locator('.tool').nth(4).locator('.tool-error').innerText(), 'Exit code 3 · broken')
      t.match(await turn.locator('.tool').nth(2).locator('summary').innerText(), /Edit\s+a\.js\s+\+2 −1/)
      await turn.locator('.tool').nth(2).locator('summary').click()
      await turn.locator('.diff').waitFor()
      t.strictSame(await turn.locator('.diff > span').evaluateAll((lines: any[]) => lines.map((line) => line.className + line.textContent)),
        ['removed-let b = 2\n', 'added+let b = 3\n', 'added+let c = 4\n'])
      t.strictSame(await turn.locator('.diff > span').evaluateAll((lines: any[]) => lines.map((line) => line.dataset.line)), ['2', '2', '3'])
      t.match(await turn.locator('.tool').nth(4).innerText(), /broken/)
      await turn.locator('.tool').nth(3).locator('summary').click()
      t.equal(await turn.locator('.thinking').evaluate((element: any) => element.open), false)
      await turn.locator('.thinking summary').click()
      t.match(await turn.locator('.thinking').innerText(), /First I look around/)
      await turn.locator('.claude > .markdown .hljs-keyword').waitFor()
      t.equal(await turn.locator('.claude > .markdown .code code').innerText(), 'const answer = 42 // yes')
    })

    await t.test('The work of a subagent is inside the call that started it; retries are shown while they happen', async (t) => {
      const inner = scripted([[{ tool: 'Bash', input: { command: 'echo from the agent' } }], [{ text: 'The agent is done.' }]])
      await send(page, scripted([
        { error: { status: 529, type: 'overloaded_error' } },
        [{ tool: 'Task', input: { description: 'Look into it', prompt: inner, subagent_type: 'general-purpose' } }],
        [{ text: 'All is known.' }]
      ]))
      await page.locator('.retry', { hasText: 'Attempt 1 of' }).waitFor()
      await finished(page)
      const turn = page.locator('.turn').last()
      t.equal(await turn.locator('.retry').count(), 0, 'and removed afterwards')
      const agent = turn.locator('.claude > .series > .tool[data-category=agent]')
      t.equal(await agent.count(), 1)
      t.equal(await agent.locator('.tool-children .tool[data-tool=Bash]').count(), 1)
      t.match(await turn.locator('.claude > .markdown').innerText(), /All is known/)
    })

    await t.test('Files: a tree, a highlighted file, changes of this run, upload and delete', async (t) => {
      await page.keyboard.press('Control+Shift+F')
      await page.locator('.tree .file', { hasText: 'a.js' }).click()
      await page.locator('.file-content .hljs-keyword').first().waitFor()
      t.match(await page.locator('.file-content code').innerText(), /let a = 1\nlet b = 3/)
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()])
      t.equal(download.suggestedFilename(), 'a.js')
      await page.getByRole('button', { name: 'Back to the list' }).click()
      await page.locator('.files input[type=file]').first().setInputFiles([
        { name: 'sum <b>.txt', mimeType: 'text/plain', buffer: Buffer.from('uploaded') },
        { name: 'picture.png', mimeType: 'image/png', buffer: Buffer.from([137, 0, 1, 2]) }
      ])
      await page.locator('.tree .file', { hasText: 'sum <b>.txt' }).click()
      t.equal(await page.locator('.file-content code').innerText(), 'uploaded')
      await page.getByRole('button', { name: 'Delete' }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
      await page.locator('.tree .file', { hasText: 'picture.png' }).click()
      await page.getByText('This is not a text file.').waitFor()
      await page.getByRole('button', { name: 'Changed in this run' }).click()
      // The previous run changed that file.
      await page.locator('.tree .file', { hasText: 'a.js' }).waitFor({ state: 'detached' })
      await page.locator('.tree .file', { hasText: 'picture.png' }).waitFor()
      t.equal(await page.locator('.tree .file', { hasText: 'sum' }).count(), 0)
      await page.keyboard.press('Escape')
      t.equal(await page.locator('.panel').isVisible(), false)
    })

    await t.test('A run continues while the page is closed, and is replayed when it is opened again', async (t) => {
      await send(page, scripted([[{ text: 'It begins. ' }, { tool: 'Bash', input: { command: 'sleep 3; echo > late' } }], [{ text: 'And ends.' }]]))
      await page.locator('.turn').last().locator('.tool').waitFor()
      await page.goto('about:blank')
      await sleep(500)
      await page.goto(`${service.url}/`)
      await page.getByRole('button', { name: 'Continue with project' }).click()
      await finished(page)
      t.equal(await page.locator('.turn').count(), 3)
      const answers = await page.locator('.claude > .markdown').allInnerTexts()
      for (const said of ['And that is all.', 'All is known.', 'It begins.', 'And ends.']) {
        t.equal(answers.filter((text) => text.includes(said)).length, 1, `"${said}" occurs once`)
      }
      t.equal(await page.locator('.turn').last().locator('.tool').count(), 1)
    })

    await t.test('The title shows the end of a run to users who look elsewhere', async (t) => {
      const other = await page.context().newPage()
      await send(page, scripted([[{ text: 'Short.', chunk: 1, delayMs: 100 }]]))
      while (!(await page.title()).startsWith('● Working · ')) await sleep(20)
      await other.bringToFront()
      await page.evaluate('Object.defineProperty(document, "hasFocus", { value: () => false, configurable: true })')
      while (!(await page.title()).startsWith('(!) Claude has finished')) await sleep(20)
      await other.close()
      await page.evaluate('document.dispatchEvent(new Event("visibilitychange"))')
      t.match(await page.title(), /^[^(●].* · Modal Sandbox$/)
    })

    await t.test('The shortcuts do what their list says', async (t) => {
      await page.getByRole('button', { name: 'Files' }).focus()
      await page.keyboard.press('?')
      t.match(await page.getByRole('dialog').innerText(), /New conversation/)
      await page.keyboard.press('Escape')
      await page.keyboard.press('Shift+Escape')
      t.equal(await page.evaluate('document.activeElement.id'), 'prompt')
      await page.keyboard.press('Control+Shift+O')
      await page.locator('.welcome').waitFor()
    })
  })
}
