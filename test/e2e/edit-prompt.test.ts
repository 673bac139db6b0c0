import t from 'tap'
import { noBrowser } from '../helpers/browser.js'
import { finished, openChat, sandboxOn, scripted, send } from '../helpers/chat.js'

const skip = noBrowser || (process.env.TEST_LIVE === '1' && 'drives the scripted model')
const says = (name: string, answer: string) => `${name}\n${scripted([[{ text: answer }]])}`

t.test('Earlier prompts are edited in a real browser', { skip }, async (t) => {
  const { page, allow } = await openChat(t)
  const input = page.getByLabel('Prompt', { exact: true })
  const turns = page.locator('.turn')
  const answers = async () => await turns.locator('.markdown').allInnerTexts()
  const place = () => new URL(page.url()).hash
  const edit = async (index: number) => {
    await turns.nth(index).hover()
    await turns.nth(index).getByRole('button', { name: 'Edit this prompt' }).click()
  }
  const said = async (name: string, answer: string) => {
    await send(page, says(name, answer))
    await finished(page)
  }
  for (const [name, answer] of [['First', 'One.'], ['Second', 'Two.'], ['Third', 'Three.']]) await said(name!, answer!)
  const before = place()

  await t.test('Cancel leaves everything as it is, and the draft, too', async (t) => {
    await input.fill('a draft')
    await edit(1)
    t.match(await input.inputValue(), /^Second/)
    await page.getByText('What you send begins a conversation from here.').waitFor()
    await page.locator('.editing').getByRole('button', { name: 'Cancel' }).click()
    t.equal(await input.inputValue(), 'a draft')
    t.equal(await page.locator('.editing').isVisible(), false)
    t.strictSame(await answers(), ['One.', 'Two.', 'Three.'])
    t.equal(await page.locator('[data-edited]').count(), 0)
    await input.fill('')
  })

  await t.test('It is sent in a conversation of its own, which knows what was said before it, and nothing else', async (t) => {
    await edit(1)
    await said('Second, again', 'Two, too.')
    t.strictSame(await answers(), ['One.', 'Two, too.'])
    t.not(place(), before)
    t.equal(await page.locator('.conversation-title').innerText(), 'Second, again')
    await page.reload()
    await turns.nth(1).locator('.markdown').waitFor()
    t.strictSame(await answers(), ['One.', 'Two, too.'])
    await said('Fourth', 'Four.')
    t.strictSame(await answers(), ['One.', 'Two, too.', 'Four.'], 'and it goes on')
  })

  await t.test('The other conversation is as it was', async (t) => {
    await page.goto(`${page.url().split('#')[0]}${before}`)
    await turns.nth(2).locator('.markdown').waitFor()
    t.strictSame(await answers(), ['One.', 'Two.', 'Three.'])
  })

  await t.test('The first prompt begins a conversation with nothing before it', async (t) => {
    await edit(0)
    await said('At first', 'Another one.')
    t.strictSame(await answers(), ['Another one.'])
    await page.goto(`${page.url().split('#')[0]}${before}`)
    await turns.nth(2).locator('.markdown').waitFor()
  })

  await t.test('One that could not be sent is sent again from the same place', async (t) => {
    await edit(2)
    await page.route('**/claude', async (route) => await route.fulfill({ status: 429, json: { code: 'LIMIT_REACHED', message: 'Not now.' } }), { times: 1 })
    allow(/status of 429/)
    await send(page, says('Third, again', 'Three, too.'))
    await page.getByText('Not now.').waitFor()
    await input.press('Enter')
    await page.locator('.markdown', { hasText: 'Three, too.' }).waitFor()
    t.strictSame(await answers(), ['One.', 'Two.', 'Three, too.'])
    const { sessions } = await page.evaluate(`fetch('/api/modal/sandbox/${sandboxOn(page)}/sessions').then((response) => response.json())`) as any
    t.equal(sessions[0].messages, 6, 'with all that was said before')
  })
})
