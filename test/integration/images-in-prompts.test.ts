import { randomBytes } from 'node:crypto'
import t from 'tap'
import { readSse, skip, startService, type ReceivedEvent } from '../helpers/service.js'
import { png } from '../helpers/png.js'

const image = (bytes: Buffer, mediaType = 'image/png') => ({ type: 'image', mediaType, data: bytes.toString('base64') })

t.test('Images in prompts of the real CLI', { skip }, async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const { id } = await (await service.request('/api/modal/sandbox', { method: 'POST', json: { image: { registry: 'local' } } })).json() as any
  const path = `/api/modal/sandbox/${id}`
  const run = async (body: object) => await service.request(`${path}/claude`, { method: 'POST', json: body })
  const small = png(3, 2)
  let sessionId = ''

  await t.test('The model gets the images of a prompt, and the conversation keeps them', async (t) => {
    const answer = await read(await run({ prompt: [{ type: 'text', text: '/clear what is this?' }, image(small), image(small)] }))
    t.match(answer.text, /> \/clear what is this\?/)
    t.match(answer.text, new RegExp(`With 2 images \\(image/png, ${small.length} bytes; image/png, ${small.length} bytes\\)`))
    sessionId = answer.last.sessionId
    t.match(answer.last, { outcome: 'result' })
    const { messages } = await (await service.request(`${path}/sessions/${sessionId}`)).json() as any
    const [text, picture] = messages[0].message.content
    t.strictSame(text, { type: 'text', text: '/clear what is this?' })
    t.strictSame(picture.source, { type: 'base64', media_type: 'image/png', data: small.toString('base64') })
  })

  await t.test('Images without a word are a prompt, too', async (t) => {
    const answer = await read(await run({ prompt: [image(small)], sessionId }))
    t.match(answer.text, /This is turn 2 .*With 1 image \(image\/png/s)
    const { runs } = await (await service.request(`${path}/claude`)).json() as any
    t.strictSame(runs.map(({ prompt }: any) => prompt), ['[image]', '/clear what is this?'])
    const { text, last } = await read(await run({ prompt: [image(small)] }))
    t.match(text, /With 1 image/)
    const { sessions } = await (await service.request(`${path}/sessions`)).json() as any
    t.equal(sessions.find((session: any) => session.sessionId === last.sessionId).title, '[image]')
  })

  await t.test('Several megabytes pass, also where somebody answers what Claude asks', async (t) => {
    // Noise, which cannot be made smaller.
    const large = png(900, 900, randomBytes(900 * 900 * 3))
    t.ok(large.length > 2_400_000)
    for (const interactive of [false, true]) {
      const { text, last } = await read(await run({ prompt: [{ type: 'text', text: 'Large' }, image(large), image(large), image(large)], interactive }))
      t.match(last, { outcome: 'result' })
      t.match(text, /With 3 images \(image\//)
    }
  })

  await t.test('What is no prompt is refused with the name of the field', async (t) => {
    const wrong: [unknown, number, RegExp][] = [
      [5, 400, /^body\.prompt must be string/],
      [[], 400, /^body\.prompt must NOT have fewer than 1 items/],
      [[{ type: 'video' }], 400, /^body\.prompt\.0\.type /],
      [[{ type: 'text' }], 400, /^body\.prompt\.0\.text is required/],
      [[image(small), { ...image(small), mediaType: 'image/svg+xml' }], 400, /^body\.prompt\.1\.mediaType must be one of image\/png, image\/jpeg/],
      [[{ ...image(small), data: 'not base64!' }], 400, /^body\.prompt\.0\.data must match pattern/],
      [[{ ...image(small), name: 'x' }], 400, /^body\.prompt\.0\.name is not a known field/],
      [[{ ...image(small), data: 'A'.repeat(3_500_004) }], 400, /^body\.prompt\.0\.data must NOT have more than 3500000 characters/],
      [[image(small, 'image/gif')], 400, /^body\.prompt\.0\.mediaType is image\/gif, but the data is image\/png/],
      [Array(5).fill({ ...image(small), data: 'A'.repeat(3_000_000) }), 413, /at most 12582912 bytes/]
    ]
    for (const [prompt, status, message] of wrong) {
      const response = await run({ prompt })
      t.equal(response.status, status)
      t.match((await response.json() as any).message, message)
    }
  })
})

/** What the model said, and the data of the run's end. */
async function read (response: Response): Promise<{ text: string, last: any }> {
  const events: ReceivedEvent[] = []
  for await (const event of readSse(response)) events.push(event)
  const blocks = events.flatMap(({ event, data }) => event === 'claude' && data.type === 'assistant' ? data.message.content : [])
  return { text: blocks.map(({ text }: any) => text ?? '').join('\n'), last: events.at(-1)!.data }
}
