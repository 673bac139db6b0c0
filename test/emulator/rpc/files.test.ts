import type { Sandbox } from 'modal'
import type { Test } from 'tap'
import t from 'tap'
import { eventually } from '../../helpers/containers.js'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

/** As the SDKs do it that still open files: modal 0.7.6, and Python's. */
const { emulator, bare, skip } = await openEmulator(t)

/** With the name that is asked for below: tap compares names, codes and texts of errors. */
const failure = ({ errorCode, errorMessage }: { errorCode: number, errorMessage: string }) =>
  Object.assign(new Error(errorMessage), { code: errorCode })

async function openSandbox (t: Test, family: 'V1' | 'V2' = 'V2') {
  const { create } = await localApp(emulator.modal(family), 'files')
  const sandbox = await create()
  t.teardown(() => sandbox.terminate())
  return { sandbox, ...await filesOf(sandbox) }
}

async function filesOf ({ sandboxId }: Sandbox) {
  const { taskId } = await bare.task(sandboxId)
  const start = async (request: object) => await bare.control('ContainerFilesystemExec', { taskId, ...request })
  const output = async (execId: string) => {
    const parts: Buffer[] = []
    for await (const batch of bare.stream('ContainerFilesystemExecGetOutput', { execId, timeout: 55 })) {
      if (batch.error) throw failure(batch.error)
      parts.push(...batch.output)
      if (batch.eof) return Buffer.concat(parts)
    }
    throw new Error('the output has no end')
  }
  const perform = async (request: object) => await output((await start(request)).execId)
  const open = async (path: string, mode: string) => {
    const { fileDescriptor, execId } = await start({ fileOpenRequest: { path, mode } })
    await output(execId)
    const on = (name: string) => async (more: object = {}) => await perform({ [name]: { fileDescriptor, ...more } })
    return {
      read: async (n?: number) => (await on('fileReadRequest')(n === undefined ? {} : { n })).toString(),
      readLine: async () => (await on('fileReadLineRequest')()).toString(),
      write: async (data: Buffer | string) => { await on('fileWriteRequest')({ data: Buffer.from(data) }) },
      flush: on('fileFlushRequest'),
      seek: async (offset: number, whence = 0) => { await on('fileSeekRequest')({ offset, whence }) },
      close: on('fileCloseRequest')
    }
  }
  return { start, output, perform, open }
}

for (const family of ['V1', 'V2'] as const) {
  t.test(`${family}: an open file is read and written from its position, as Python does it`, { skip }, async (t) => {
    const { sandbox, open } = await openSandbox(t, family)
    const written = await open('/tmp/text', 'w')
    await written.write('one\ntwo\n')
    await written.write('three')
    await written.flush()
    t.equal((await run(sandbox, ['cat', '/tmp/text'])).stdout, 'one\ntwo\nthree')
    await written.close()

    const read = await open('/tmp/text', 'r')
    t.strictSame([await read.readLine(), await read.read(2), await read.read(), await read.read()], ['one\n', 'tw', 'o\nthree', ''])
    await read.seek(-5, 2)
    t.strictSame([await read.readLine(), await read.readLine()], ['three', ''])
    await read.seek(4)
    await read.seek(1, 1)
    t.equal(await read.read(1), 'w')

    const appended = await open('/tmp/text', 'a+')
    await appended.write('!')
    t.equal(await appended.read(), '')
    await appended.seek(0)
    t.equal(await appended.read(), 'one\ntwo\nthree!')
    const changed = await open('/tmp/text', 'rb+')
    await changed.write('ONE')
    t.equal((await run(sandbox, ['cat', '/tmp/text'])).stdout, 'ONE\ntwo\nthree!')
  })
}

t.test('an open file stays the same one when its name is given away', { skip }, async (t) => {
  const { sandbox, open } = await openSandbox(t)
  const file = await open('/tmp/moved', 'w+')
  await file.write('mine')
  await run(sandbox, ['sh', '-c', 'mv /tmp/moved /tmp/elsewhere; echo other > /tmp/moved'])
  await file.write('!')
  await file.seek(0)
  t.equal(await file.read(), 'mine!')
  t.equal((await run(sandbox, ['cat', '/tmp/elsewhere'])).stdout, 'mine!')
})

t.test('millions of bytes arrive as they were, in pieces', { skip }, async (t) => {
  const { sandbox, perform, start, output } = await openSandbox(t)
  const bytes = Buffer.alloc(5_000_000, 'abcdefg\0')
  const { fileDescriptor, execId } = await start({ fileOpenRequest: { path: '/tmp/big', mode: 'w+' } })
  await output(execId)
  await perform({ fileWriteRequest: { fileDescriptor, data: bytes } })
  await perform({ fileSeekRequest: { fileDescriptor, offset: 0, whence: 0 } })
  t.ok(bytes.equals(await perform({ fileReadRequest: { fileDescriptor } })))
  t.equal((await run(sandbox, ['stat', '-c', '%s', '/tmp/big'])).stdout, '5000000\n')
})

t.test('what fails says so in the output, with the number of the error', { skip }, async (t) => {
  const { sandbox, open, perform } = await openSandbox(t)
  await t.rejects(open('/tmp/none', 'r'), { code: 2, message: /no such file/ })
  await t.rejects(open('/tmp', 'r'), { code: 21 })
  await t.rejects(open('/tmp', 'w'), { code: 21 })
  await t.rejects(open('/etc/passwd/below', 'r'), { code: 20 })
  await t.rejects(open('/etc/passwd', 'x'), { code: 17 })
  await t.rejects(open('/tmp/x', 'rw'), { code: 22, message: /Invalid file mode: rw/ })
  const written = await open('/tmp/written', 'w')
  await t.rejects(written.read(), { code: 9 })
  await t.rejects(written.seek(-1), { code: 22 })
  await written.close()
  await t.rejects(written.read(), { message: /no file is open/ })
  await run(sandbox, ['truncate', '-s', '101M', '/tmp/large'])
  await t.rejects((await open('/tmp/large', 'r')).read(), { code: 27 })
  await t.rejects(perform({ fileRmRequest: { path: '/tmp/none' } }), { code: 2 })
  await t.rejects(perform({ fileMkdirRequest: { path: '/tmp' } }), { code: 17 })
})

t.test('directories are made, listed and removed; what is relative is so to the working directory', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'directories')
  const sandbox = await create({ workdir: '/srv' })
  t.teardown(() => sandbox.terminate())
  const { perform } = await filesOf(sandbox)
  await perform({ fileMkdirRequest: { path: 'made/by', makeParents: true } })
  await perform({ fileMkdirRequest: { path: '/srv/made/alone' } })
  t.strictSame(JSON.parse((await perform({ fileLsRequest: { path: 'made' } })).toString()), { paths: ['alone', 'by'] })
  await perform({ fileRmRequest: { path: 'made', recursive: true } })
  t.equal((await run(sandbox, ['ls', '/srv'])).stdout, '')
})

t.test('a watch tells each reader what none before it was told, renames as changes', { skip }, async (t) => {
  const { sandbox, start } = await openSandbox(t)
  const sh = async (script: string) => await run(sandbox, ['sh', '-c', script])
  await sh('mkdir /tmp/watched')
  const { execId } = await start({ fileWatchRequest: { path: '/tmp/watched', recursive: false, timeoutSecs: 15 } })
  const seen: Array<{ event_type: string, paths: string[] }> = []
  const readers = async () => {
    for (let count = 1; ; count++) {
      for await (const { output, eof } of bare.stream('ContainerFilesystemExecGetOutput', { execId, timeout: 1 })) {
        if (eof) return count
        for (const text of output) seen.push(JSON.parse(/^(.*)\n\n$/.exec(text.toString())![1]!))
      }
    }
  }
  const read = readers()
  await eventually(async () => { await sh('touch /tmp/watched/a'); return seen.length > 0 })
  await sh('touch /tmp/watched/b; mv /tmp/watched/b /tmp/watched/c')
  t.ok(await read > 2, 'several readers')
  const created = seen.filter(({ event_type: type, paths }) => type === 'Create' && paths[0] === '/tmp/watched/b')
  t.equal(created.length, 1)
  t.ok(seen.some(({ event_type: type, paths }) => type === 'Modify' && paths.join() === '/tmp/watched/b,/tmp/watched/c'))
})

t.test('files of what is not there are refused', { skip }, async (t) => {
  const { sandbox, start, output } = await openSandbox(t)
  await t.rejects(bare.control('ContainerFilesystemExec', { taskId: 'ta-none', fileLsRequest: { path: '/' } }), { code: 5 })
  await t.rejects(start({}), { code: 3, details: /No file operation/ })
  await t.rejects(start({ fileDeleteBytesRequest: {} }), { code: 12, details: /given up/ })
  await t.rejects(output('none'), { code: 5 })
  await sandbox.terminate({ wait: true })
  await t.rejects(start({ fileLsRequest: { path: '/' } }), { code: 5, details: /already finished/ })
})

expectNothingUnexpected(t, emulator)
