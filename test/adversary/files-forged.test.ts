import t from 'tap'
import { skip, startService } from '../helpers/service.js'

t.test('programs of a sandbox that were replaced', { skip }, async (t) => {
  const service = await startService()
  t.teardown(async () => service.close())
  const created = await service.request('/api/modal/sandbox', { method: 'POST', json: {} })
  const { id } = await created.json() as { id: string }
  const url = `/api/modal/sandbox/${id}`
  const run = async (command: string[], stdin = '') => await (await service.request(`${url}/exec`, {
    method: 'POST', json: { command, stdin }, headers: { accept: 'application/json' }
  })).json() as { exitCode: number }
  const replace = async (program: string, script: string) => await run(
    ['bash', '-c', `cat > /usr/local/bin/${program}; chmod 755 /usr/local/bin/${program}`], `#!/bin/bash\n${script}\n`)
  const read = async () => await service.request(`${url}/files/content?path=file`, { signal: AbortSignal.timeout(10_000) })
  const write = async () => await service.request(`${url}/files/content?path=file`, {
    method: 'PUT', body: 'inside\n', headers: { 'content-type': 'application/octet-stream' }
  })
  await write()

  await t.test('do not decide about the framing of a response', async (t) => {
    for (const head of ['-1 0', 'NaN NaN', 'Infinity 0', '1e400 1', '1.5 3', '0x10 0', '', '9007199254740993 1', '3 9999999999999']) {
      await replace('stat', `echo '${head}'`)
      const response = await read()
      t.match(await response.json(), { code: 'FILE_FAILED' }, head || 'an empty line')
      t.equal(response.status, 422)
    }
    await run(['rm', '/usr/local/bin/stat'])
    t.equal(await (await read()).text(), 'inside\n')
  })

  await t.test('do not fill the memory with a line that has no end', async (t) => {
    await replace('sh', 'while :; do printf "%065536d" 1; done')
    t.match(await (await read()).json(), { code: 'FILE_FAILED' })
  })

  await t.test('cannot make an upload end without an answer', async (t) => {
    await replace('sh', 'cat > /dev/null')
    const response = await write()
    t.same([response.status, (await response.json() as { code: string }).code], [422, 'FILE_FAILED'])
    await run(['rm', '/usr/local/bin/sh'])
  })
})
