import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, closeSync, openSync, writeSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { FileSpool } from '../../../emulator/container/spool.js'
import type { Process, Spool } from '../../../emulator/container/types.js'
import { EndedOutput } from '../../../emulator/sandboxes/ended-output.js'
import { eventually, hostDirectory, text } from '../../helpers/containers.js'

const segment = 1000

interface Options { path?: string, segmentBytes?: number, keptBytes?: number }

/** A spool that keeps 4000 bytes, and the pipe that it reads from. */
async function openSpool (t: Test, { path, segmentBytes = segment, keptBytes = 4 * segment }: Options = {}) {
  const directory = await hostDirectory(t)
  const fifo = join(directory, 'fifo')
  execFileSync('mkfifo', [fifo])
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(fifo, constants.O_WRONLY)
  const spool = new FileSpool(path ?? join(directory, 'out'), { segmentBytes, keptBytes })
  let exit = () => {}
  const exited = new Promise<void>((resolve) => { exit = resolve })
  const filled = spool.fill(new Socket({ fd: reader, readable: true, writable: false }), exited, new Promise(() => {}))
  const files = async () => (await readdir(directory)).filter((name) => name.startsWith('out')).sort()
  return { spool, fifo, filled, exit, files, print: (bytes: number) => writeSync(writer, Buffer.alloc(bytes, 'x')), close: () => closeSync(writer) }
}

t.test('Output is kept in several files, and read as one from any offset', async (t) => {
  const { spool, print, close, filled, files } = await openSpool(t)
  print(2500)
  close()
  await filled
  t.equal((await text(spool)).length, 2500)
  t.equal((await text({ read: () => spool.read(999) } as unknown as Spool)).length, 1501)
  t.same([spool.size, spool.kept, await files()], [2500, 2500, ['out.0', 'out.1', 'out.2']])
  await spool.discard()
  t.same([spool.kept, await files()], [0, []])
  await t.rejects(text(spool), { name: 'ContainerError', reason: 'dropped' }, 'what is gone does not look empty')
})

t.test('What nobody reads is kept up to a limit, and the process waits; what was read makes room', async (t) => {
  const { spool, fifo, close, filled, files } = await openSpool(t, { segmentBytes: 100_000, keptBytes: 400_000 })
  const pipe = openSync(fifo, constants.O_WRONLY)
  const printed = once(spawn('head', ['-c', '2000000', '/dev/zero'], { stdio: ['ignore', pipe, 'ignore'] }), 'exit')
  closeSync(pipe)
  t.ok(await eventually(async () => spool.size >= 400_000))
  await sleep(200)
  t.ok(spool.size < 700_000, 'it waits')
  const reading = text(spool)
  await printed
  close()
  t.equal((await reading).length, 2_000_000, 'a reader that keeps up gets all of it')
  await filled
  t.equal(spool.size, 2_000_000)
  t.ok(spool.kept < 700_000)
  t.notOk((await files()).includes('out.0'), 'the oldest is gone')
  await t.rejects(text(spool), { name: 'ContainerError', reason: 'dropped' }, 'a second reader is told')
})

t.test('After the exit of a process the rest is taken, though nobody reads', async (t) => {
  const { spool, print, close, filled, exit } = await openSpool(t)
  for (let written = 0; written < 10_000; written += 1000) print(1000)
  exit()
  close()
  await filled
  t.equal((await text(spool)).length, 10_000)
})

t.test('Output that can\'t be written is told to readers, and the process goes on', async (t) => {
  const { spool, print, close, filled } = await openSpool(t, { path: '/proc/no/such/place' })
  print(500)
  await t.rejects(text(spool), { name: 'ContainerError', reason: 'failed' })
  print(500)
  close()
  await filled
  await t.rejects(text(spool), { name: 'ContainerError', reason: 'failed' }, 'also after its end')
})

t.test('Of the output of ended commands the oldest is removed, unless somebody reads it', async (t) => {
  const removed: string[] = []
  const process = (name: string, kept: number, isRead = false) => ({
    drained: Promise.resolve(),
    stdout: { kept, isRead },
    stderr: { kept: 0, isRead: false },
    discard: async () => { removed.push(name) }
  }) as unknown as Process
  const output = new EndedOutput(100)
  await output.keep(process('read', 60, true))
  await output.keep(process('old', 30))
  t.same(removed, [])
  await output.keep(process('new', 40))
  await output.keep(process('large', 80))
  t.same(removed, ['old', 'new', 'large'])
})
