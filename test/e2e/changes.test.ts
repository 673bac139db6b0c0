import t from 'tap'
import type { Page } from 'playwright-core'
import { noBrowser } from '../helpers/browser.js'
import { finished, openChat, scripted, send } from '../helpers/chat.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'drives the scripted model')
const git = 'git -c user.name=Ada -c user.email=ada@example.com'

t.test('Changes in a real browser', { skip }, async (t) => {
  const { page, allow } = await openChat(t)
  const bash = async (command: string) => {
    await send(page, scripted([[{ tool: 'Bash', input: { command } }], [{ text: 'Done.' }]]))
    await finished(page)
  }
  const branch = page.getByLabel('Branch', { exact: true })
  const rows = async (list: string) => await page.locator(`[data-list="${list}"] .change summary`).evaluateAll((all: any[]) =>
    all.map((row) => `${row.querySelector('.change-kind').textContent} ${row.title}`))
  const refreshed = async (work: () => Promise<unknown>) => {
    await Promise.all([page.waitForResponse((response) => response.url().endsWith('/changes') && response.ok()), work()])
  }

  await t.test('Where there is no repository, what Claude edited is shown instead, and called that', async (t) => {
    await send(page, scripted([
      [{ tool: 'Write', input: { file_path: 'src/tens.js', content: 'const one = 1\nconst ten = 10\n' } }],
      [{ tool: 'Edit', input: { file_path: 'src/tens.js', old_string: 'const ten = 10', new_string: 'const ten = 9 + 1' } }],
      [{ text: 'Done.' }]
    ]))
    await finished(page)
    await page.keyboard.press('Control+Shift+G')
    await page.getByText('There is no git repository in the workspace').waitFor()
    await page.getByRole('button', { name: 'What Claude edited' }).click()
    t.equal(await page.evaluate('document.activeElement.textContent'), 'This conversation')
    t.match(await page.locator('.edits').innerText(), /What Claude's editing tools changed in this conversation\. What commands changed is not in this list/)
    await page.locator('.edits summary', { hasText: 'tens.js' }).click()
    t.strictSame(await diffsIn(page, '.edits'), [
      ['1 + const one = 1', '2 + const ten = 10'],
      ['1   const one = 1', '2 - const ten = 10', '2 + const ten = 9 + 1']
    ])
  })

  await t.test('What this turn changed is told from what this conversation changed', async (t) => {
    await send(page, scripted([[{ tool: 'Write', input: { file_path: 'later.txt', content: 'later\n' } }], [{ text: 'Done.' }]]))
    await finished(page)
    await page.getByRole('button', { name: 'This turn' }).click()
    t.strictSame(await page.locator('.edits summary').evaluateAll((all: any[]) => all.map((row) => row.title)), ['later.txt'])
    await page.getByRole('button', { name: 'This conversation' }).click()
    t.strictSame(await page.locator('.edits summary').evaluateAll((all: any[]) => all.map((row) => row.title)), ['src/tens.js', 'later.txt'])
  })

  await t.test('After a reload it is still known what this conversation changed', async (t) => {
    await page.reload()
    await page.locator('.run-footer').nth(1).waitFor()
    await page.getByRole('button', { name: 'Changes' }).click()
    await page.getByRole('button', { name: 'This conversation' }).click()
    await page.locator('.edits summary', { hasText: 'tens.js' }).click()
    t.strictSame((await diffsIn(page, '.edits')).map(({ length }) => length), [2, 2])
  })

  await t.test('With git, changed files are listed by what has become of them, and open as diffs with line numbers', async (t) => {
    await page.getByRole('button', { name: 'Git' }).click()
    await bash(`git init -qb main; seq 1 30 > numbers; echo old > gone; git add -A; ${git} commit -qm begin; sed -i 's/^15$/fifteen/' numbers; rm gone; echo new > 'a new one'`)
    await page.locator('[data-list="changed"]').waitFor()
    t.strictSame(await rows('changed'), ['D gone', 'M numbers', 'N a new one'], 'without Claude\'s own directory, though all was added')
    await page.locator('.change summary', { hasText: 'numbers' }).click()
    await page.locator('.repository .diff').waitFor()
    t.strictSame(await diffsIn(page, '.repository'), [
      ['12   12', '13   13', '14   14', '15 - 15', '15 + fifteen', '16   16', '17   17', '18   18']
    ])
    const colours = await page.locator('.repository .diff > :is(.added, .removed)').evaluateAll((all: any[]) =>
      all.map((line) => line.ownerDocument.defaultView.getComputedStyle(line).backgroundColor))
    t.equal(new Set(colours).size, 2, 'what was added and removed has a colour of its own')
  })

  await t.test('Files are staged and unstaged with the keyboard, and the focus stays in the list', async (t) => {
    await page.getByRole('button', { name: 'Stage gone' }).focus()
    await refreshed(() => page.keyboard.press('Enter'))
    await page.locator('[aria-label="Stage numbers"]:focus').waitFor()
    await refreshed(() => page.keyboard.press('Enter'))
    await page.locator('[aria-label="Stage a new one"]:focus').waitFor()
    t.strictSame(await rows('staged'), ['D gone', 'M numbers'])
    await refreshed(() => page.getByRole('button', { name: 'Unstage gone' }).click())
    t.strictSame(await rows('changed'), ['D gone', 'N a new one'])
    await refreshed(() => page.getByRole('button', { name: 'Unstage all' }).click())
    t.strictSame(await rows('staged'), [])
    await refreshed(() => page.getByRole('button', { name: 'Stage all' }).click())
    t.strictSame(await rows('staged'), ['A a new one', 'D gone', 'M numbers'])
  })

  await t.test('What is staged is committed with a message', async (t) => {
    await page.getByLabel('Message of the commit').fill('Spell fifteen\n\nIt reads better.')
    await refreshed(() => page.getByLabel('Message of the commit').press('Control+Enter'))
    await page.getByText('Nothing has changed since the last commit.').waitFor()
    await bash('git log -1 --format=%B%an')
    await page.locator('.tool').last().locator('summary').click()
    t.match(await page.locator('.tool').last().locator('.tool-result .code').innerText(), /Spell fifteen\s+It reads better\.\s+Modal Sandbox/)
    t.equal(await page.getByLabel('Message of the commit').inputValue().catch(() => ''), '', 'the next one starts empty')
  })

  await t.test('A branch is made, and another one switched to; what git refuses is told with its reason', async (t) => {
    await page.getByRole('button', { name: 'New branch' }).click()
    await page.keyboard.type('idea')
    await refreshed(() => page.keyboard.press('Enter'))
    t.equal(await branch.inputValue(), 'idea')
    await bash(`seq 1 5 > numbers; ${git} commit -qam shorter; echo unsaved >> numbers`)
    await page.locator('[data-list="changed"]').waitFor()
    allow(/status of 422/)
    await branch.selectOption('main')
    const alert = page.locator('.repository').getByRole('alert')
    t.match(await alert.innerText(), /would be overwritten[^]*numbers/)
    t.equal(await branch.inputValue(), 'idea', 'the branch is still the one that it was')
    await bash('git checkout -q numbers; git ls-files | grep -c claude-sandbox')
    await page.getByText('Nothing has changed since the last commit.').waitFor()
    await refreshed(() => branch.selectOption('main'))
    t.equal(await branch.inputValue(), 'main')
  })

  await t.test('A conflict is shown with both sides', async (t) => {
    await bash(`git checkout -qb other; echo theirs > numbers; ${git} commit -qam theirs; git checkout -q main; echo ours > numbers; ${git} commit -qam ours; ${git} merge other`)
    await page.locator('.change-kind[data-kind=conflicted]').waitFor()
    t.strictSame(await rows('changed'), ['! numbers'])
    const added = page.locator('.repository .diff .added')
    await added.first().waitFor()
    t.match((await added.allInnerTexts()).join(''), /ours[^]*theirs/)
    await bash('git merge --abort')
    await page.getByText('Nothing has changed since the last commit.').waitFor()
  })

  await t.test('Names of files are text, whatever they are', async (t) => {
    await bash('touch "<img src=x onerror=alert(1)>" "$(printf \'two\\nlines\')"; mkdir -p "deep/er"; echo x > deep/er/f')
    await page.locator('[data-list="changed"]').waitFor()
    t.strictSame(await rows('changed'), ['N <img src=x onerror=alert(1)>', 'N deep/er/f', 'N two\nlines'])
    t.equal(await page.locator('.changes img').count(), 0)
  })

  await t.test('On a phone the panel has the whole screen, and nothing is cut off', async (t) => {
    await page.setViewportSize({ width: 390, height: 800 })
    await page.locator('.change summary', { hasText: 'deep/er' }).click()
    await page.locator('.repository .diff').waitFor()
    t.equal(await page.evaluate('document.documentElement.scrollWidth'), 390)
    const { width } = (await page.locator('.panel').boundingBox())!
    t.equal(width, 390)
    for (const button of await page.locator('.change > .quiet').all()) {
      const box = (await button.boundingBox())!
      t.ok(box.width >= 40 && box.height >= 40 && box.x + box.width <= 390, 'a finger finds it')
    }
  })
})

/** The lines of each diff: number, sign and text. */
async function diffsIn (page: Page, place: string) {
  await page.locator(`${place} .diff`).first().waitFor()
  return await page.locator(`${place} .diff`).evaluateAll((all: any[]) => all.map((diff) => [...diff.children].map((line) =>
    `${line.dataset.line} ${line.textContent.slice(0, 1)} ${line.textContent.slice(1).trimEnd()}`)))
}
